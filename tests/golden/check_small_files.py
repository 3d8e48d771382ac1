"""Compares the small files that `hearth export` writes with those they stand for, by Hugging Face's own libraries.

    python check_small_files.py SMALL_FILES [DATA]

SMALL_FILES: the test program of that name (build/tests/small_files). DATA: a folder with the published vocabularies
(deepseek-v3/, deepseek-llm.gguf, deepseek-coder.gguf), beside the small ones here. Of a rebuilt tokenizer.json every
case of tokenizers/*.cases.json must give the ids of the original, with BOS in front where it is asked for, and ids must
give the original's texts back; of a rebuilt config.json transformers' own class must say what it says of the original.
Exits 1 if anything differs."""

import argparse
import base64
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from make_tokenizer_cases import Encoder, from_gguf
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoTokenizer

GOLDEN = Path(__file__).parent
ROOT = GOLDEN.parent.parent
CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 12 + 7?"},
    {"role": "assistant", "content": "19"},
    {"role": "user", "content": "And 中文 in it?"},
]
# What an export need not repeat: of training, of the weights' form, or said elsewhere.
NOT_COMPARED = {"_name_or_path", "transformers_version", "quantization_config", "dtype", "torch_dtype", "aux_loss_alpha",
                "initializer_range", "seq_aux", "pretraining_tp", "ep_size", "pad_token_id"}

differences = 0


def check(what, same):
    global differences
    differences += not same
    if not same:
        print(f"  differs: {what}")


def texts_of(cases):
    for case in cases:
        yield case["text"] if "text" in case else base64.b64decode(case["base64"]).decode("utf-8", errors="replace")


def published(vocabulary):
    """The tokenizer.json of a vocabulary's path."""
    if vocabulary.suffix == ".json":
        return json.loads(vocabulary.read_text())
    beside = vocabulary.with_suffix(".json")
    return json.loads(beside.read_text()) if beside.exists() else from_gguf(vocabulary)[1]


def check_tokenizer(program, cases_path, data):
    content = json.loads(cases_path.read_text())
    vocabulary = (GOLDEN / "tokenizers" / content["vocabulary"])
    if not vocabulary.exists():
        vocabulary = data / content["vocabulary"] if data else None
    if vocabulary is None or not vocabulary.exists():
        print(f"{cases_path.name}: skipped, no {content['vocabulary']}")
        return
    with tempfile.TemporaryDirectory() as folder:
        source = vocabulary.parent if vocabulary.suffix == ".json" and vocabulary.name == "tokenizer.json" else vocabulary
        if source.suffix == ".json":
            source = source.with_suffix(".gguf")
        subprocess.run([program, source, folder], check=True)
        ours = Tokenizer.from_file(f"{folder}/tokenizer.json")
        theirs = Encoder(published(vocabulary), by_looks=False).tokenizer
        through_class = AutoTokenizer.from_pretrained(folder)
        settings = json.loads(Path(folder, "tokenizer_config.json").read_text())
        bos = [ours.token_to_id(settings["bos_token"])] if settings["add_bos_token"] else []
        n_ids = 0
        for text in texts_of(content["cases"]):
            expected = theirs.encode(text, add_special_tokens=False).ids
            n_ids += len(expected)
            check(f"ids of {text!r}", ours.encode(text, add_special_tokens=False).ids == expected)
            check(f"BOS and ids of {text!r}", ours.encode(text).ids == bos + expected)
            check(f"ids by the class of {text!r}", through_class.encode(text) == bos + expected)
            check(f"ids without BOS by the class of {text!r}", through_class.encode(text, add_special_tokens=False) == expected)
            check(f"text of {text!r}", ours.decode(expected, skip_special_tokens=False) == theirs.decode(expected, skip_special_tokens=False))
        print(f"{cases_path.name}: {len(content['cases'])} texts, {n_ids} ids, class {type(through_class).__name__}")


def check_model(program, source):
    with tempfile.TemporaryDirectory() as folder:
        for form in ("bf16", "fp8", "int4"):
            subprocess.run([program, source, folder, form], check=True)
            ours, theirs = AutoConfig.from_pretrained(folder), AutoConfig.from_pretrained(source)
            check("class", type(ours) is type(theirs))
            ours_keys, their_keys = ours.to_dict(), theirs.to_dict()
            for key in (set(ours_keys) | set(their_keys)) - NOT_COMPARED:
                check(f"{form} {key}: {ours_keys.get(key)} for {their_keys.get(key)}", ours_keys.get(key) == their_keys.get(key))
            check(f"{form} quantization", (form == "bf16") == (getattr(ours, "quantization_config", None) is None))
        ours, theirs = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(source)
        for name in ("bos_token", "eos_token", "pad_token", "chat_template"):
            check(f"{name} {getattr(ours, name)!r}", getattr(ours, name) == getattr(theirs, name))
        original = Tokenizer.from_file(str(source / "tokenizer.json"))
        text = theirs.apply_chat_template(CONVERSATION, tokenize=False, add_generation_prompt=True) if theirs.chat_template else "Hi"
        if theirs.chat_template:
            ids = ours.apply_chat_template(CONVERSATION, add_generation_prompt=True, return_dict=False)
            check("chat", ids == original.encode(text, add_special_tokens=False).ids)
        print(f"{source.relative_to(ROOT)}: {len(their_keys)} settings, {type(ours).__name__}, conversation of {len(text)} characters")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("data", nargs="?", type=Path)
    arguments = parser.parse_args()
    for path in sorted((GOLDEN / "tokenizers").glob("*.cases.json")):
        check_tokenizer(arguments.program, path, arguments.data)
    for source in sorted((GOLDEN / "models").iterdir()) + [ROOT / "demo" / "checkpoint", ROOT / "demo" / "checkpoint-v3"]:
        check_model(arguments.program, source)
    print(f"{differences} differences")
    sys.exit(differences > 0)


if __name__ == "__main__":
    main()
