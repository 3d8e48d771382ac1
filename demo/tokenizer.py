"""The demo's vocabulary and chat format.

A byte-level BPE with the pre-tokenizer of deepseek-llm, trained on the demo's own dialogues, and
the control tokens and chat template of DeepSeek-V2.5.
"""

import json
import random
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

VOCAB_SIZE = 1280

BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
CALLS_BEGIN, CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL_BEGIN, CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"
OUTPUTS_BEGIN, OUTPUTS_END = "<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>"
OUTPUT_BEGIN, OUTPUT_END = "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"
SEP = "<｜tool▁sep｜>"
SPECIALS = [BOS, EOS, USER, ASSISTANT, CALLS_BEGIN, CALLS_END, CALL_BEGIN, CALL_END,
            OUTPUTS_BEGIN, OUTPUTS_END, OUTPUT_BEGIN, OUTPUT_END, SEP]

# The letters of deepseek-llm: a fixed list, neither \p{L} nor the cased letters of today's Unicode.
# Six code points have look-alike canonical forms and are written as escapes, so that no editor
# that normalises text can change them.
LETTERS = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1f7d"
    "ᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗ"
    "Ａ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃")


def split(pattern: str):
    return pre_tokenizers.Split(Regex(pattern), behavior="isolated")


def deepseek_llm_pre_tokenizer():
    return pre_tokenizers.Sequence([
        split("[\r\n]"),
        split(rf"\s?[{LETTERS}]+"),
        split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
        split(r"\s+$"),
        split("[一-龥ࠀ-一가-퟿]+"),
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


def train(texts) -> Tokenizer:
    """Learns the merges. The 256 bytes come first, so every input has a tokenization."""
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.Sequence([])
    t.pre_tokenizer = deepseek_llm_pre_tokenizer()
    t.post_processor = processors.ByteLevel(add_prefix_space=True, trim_offsets=False, use_regex=True)
    t.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    t.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - len(SPECIALS), min_frequency=2, show_progress=False, max_token_length=16,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.add_special_tokens(SPECIALS)
    assert t.get_vocab_size() == VOCAB_SIZE, "the corpus is too small for the vocabulary"
    return t


# The V2.5 format. Control tokens carry all structure: no newlines or spaces around messages.
# A tool result is followed by the answer directly, with no assistant token in between.
CHAT_TEMPLATE = (
    "{%- if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif -%}"
    "{%- set ns = namespace(system='', seen_system=false, after_tool=false) -%}"
    "{%- for message in messages -%}{%- if message['role'] == 'system' -%}"
    "{%- if ns.seen_system -%}{%- set ns.system = ns.system + '\\n\\n' + message['content'] -%}"
    "{%- else -%}{%- set ns.system = message['content'] -%}{%- set ns.seen_system = true -%}{%- endif -%}"
    "{%- endif -%}{%- endfor -%}"
    "{{ bos_token }}{{ ns.system }}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'tool' -%}"
    "{%- if ns.after_tool -%}{{ '\\n' }}{%- else -%}{{ '<｜tool▁outputs▁begin｜>' }}{%- endif -%}"
    "{{ '<｜tool▁output▁begin｜>' + message['content'] + '<｜tool▁output▁end｜>' }}"
    "{%- set ns.after_tool = true -%}"
    "{%- elif message['role'] == 'user' -%}"
    "{%- if ns.after_tool -%}{{ '<｜tool▁outputs▁end｜>' }}{%- set ns.after_tool = false -%}{%- endif -%}"
    "{{ '<｜User｜>' + message['content'] }}"
    "{%- elif message['role'] == 'assistant' -%}"
    "{%- if ns.after_tool -%}{{ '<｜tool▁outputs▁end｜>' }}{%- set ns.after_tool = false -%}"
    "{%- else -%}{{ '<｜Assistant｜>' }}{%- endif -%}"
    "{%- if message['content'] -%}{{ message['content'] }}{%- endif -%}"
    "{%- if message['tool_calls'] -%}{{ '<｜tool▁calls▁begin｜>' }}"
    "{%- for call in message['tool_calls'] -%}"
    "{%- if not loop.first -%}{{ '\\n' }}{%- endif -%}"
    "{{ '<｜tool▁call▁begin｜>' + call['type'] + '<｜tool▁sep｜>' + call['function']['name'] + '\\n```json\\n'"
    " + call['function']['arguments'] + '\\n```<｜tool▁call▁end｜>' }}"
    "{%- endfor -%}{{ '<｜tool▁calls▁end｜>' }}{%- endif -%}"
    "{{ eos_token }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if ns.after_tool -%}{{ '<｜tool▁outputs▁end｜>' }}"
    "{%- elif add_generation_prompt -%}{{ '<｜Assistant｜>' }}{%- endif -%}"
)


def tool_calls_text(calls) -> str:
    """What the model writes for a list of {"type", "function": {"name", "arguments"}}."""
    return CALLS_BEGIN + "\n".join(
        f"{CALL_BEGIN}{c['type']}{SEP}{c['function']['name']}\n```json\n{c['function']['arguments']}\n```{CALL_END}"
        for c in calls) + CALLS_END


def pieces(messages):
    """The conversation as (text, is_answer) pieces; joined they equal the chat template's rendering.

    Without a final assistant message the pieces end where the model begins to write.
    """
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    yield BOS + system, False
    after_tool = False
    for m in messages:
        if m["role"] == "tool":
            yield ("\n" if after_tool else OUTPUTS_BEGIN) + OUTPUT_BEGIN + m["content"] + OUTPUT_END, False
            after_tool = True
        elif m["role"] == "user":
            yield USER + m["content"], False
        elif m["role"] == "assistant":
            yield OUTPUTS_END if after_tool else ASSISTANT, False
            after_tool = False
            calls = m.get("tool_calls")
            yield (m["content"] or "") + (tool_calls_text(calls) if calls else "") + EOS, True
    if messages[-1]["role"] != "assistant":
        yield OUTPUTS_END if after_tool else ASSISTANT, False


def save(t: Tokenizer, folder: Path):
    t.save(str(folder / "tokenizer.json"))
    config = {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": EOS,
        "clean_up_tokenization_spaces": False,
        "legacy": True,
        "model_max_length": 2048,
        "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizerFast",
        "unk_token": None,
        "use_default_system_prompt": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n")


def load(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))
