"""Writes tokenizers/: small byte-level vocabularies and what Hugging Face `tokenizers` makes of several hundred texts.

    python make_tokenizer_cases.py [DATA]     DATA: a folder with deepseek-v3/tokenizer.json, deepseek-llm.gguf and
                                              deepseek-coder.gguf; without it only the small vocabularies are done

The format of the files is in README.md. Invalid UTF-8 reaches the tokenizer as Python's errors="replace" leaves it."""

import base64
import copy
import json
import random
import sys
import unicodedata
from pathlib import Path

import gguf
from tokenizers import Tokenizer, models, trainers

from checkpoint import ASSISTANT, BOS, EOS, USER
from pre_tokenizers import byte_letters, tokenizer_json

HERE = Path(__file__).parent / "tokenizers"
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5

# The published deepseek-llm vocabulary has no tokens for the bytes that valid UTF-8 never holds, and instead matches
# these thirteen characters, which stand for those bytes in the byte alphabet, as whole tokens in plain text.
IMPOSSIBLE_BYTES = [0xC0, 0xC1, *range(0xF5, 0x100)]
LETTERS = byte_letters()

SPECIALS = [BOS, EOS, "<\uff5cfim\u2581hole\uff5c>", USER, ASSISTANT, "<|EOT|>", "<\uff5ctool\u2581sep\uff5c>"]
SMALL = {  # merges to learn, user-defined tokens
    "deepseek-llm": (500, [LETTERS[byte] for byte in IMPOSSIBLE_BYTES]),
    "deepseek-coder": (400, []),
    "deepseek-v3": (600, []),
}


# --- texts ---

WHITESPACE = [
    "", " ", "  ", "   ", "     ", " " * 17, "\t", "\t\t", "\n", "\n\n", "\n\n\n", "\r", "\r\n", "\r\n\r\n", "\n\r",
    "\r\r\n", " \n", "\n ", " \n ", "  \n  ", "\t\n\t", " \t ", "a ", " a", "a  ", "  a", "a  b", "a   b", "a\tb",
    "a\t b", "a \tb", "a\n", "a\n\n", "a \n", "a \nb", "a\n b", "a\n  b", "a\n\n  b", "a\r\nb", "a\r\n b", "a \r\n b",
    "a\r\n\r\nb", "\r\n a", "a.\n", "a.\r\n", "a. \n", "a.\n\n\nb", "a!\n b", "(\n)", "{\n\t\n}", "x  \n\n  y  \n",
    "end of line   ", "   \n   \n   ", "\n \n \n", "\u00a0", "a\u00a0b", "\u00a0\u00a0a", "\u3000", "a\u3000b",
    "\u3000\u3000\u4e2d", "\u2003x", "x\u2003\u2003y", "\u2028", "a\u2028b", "a\u2029\nb", "\u0085", "a\u0085b",
    "\u180e", "a\u180eb", "\u180e\u180e ", "\u200b", "a\u200bb", "\ufeff", "\ufeffa", "\u200d", "\u2060x", "\v", "\f",
    "a\vb\fc", "\x1c\x1d\x1e\x1f", "a\x1cb", "\x00", "\x00\x00a", "a\x00b", "\x01\x02\x7f", "\x7f \x80\x9f",
    "\u202f1\u202f2", "\u1680x", "\u205fx",
]
WORDS = [
    "Hello, world!", " Hello", "hello HELLO Hello", "I'm you're they'll it's we've he'd don't", "I\u2019m you\u2019re",
    "The kettle was already singing.", "antidisestablishmentarianism", "x" * 300, "ab" * 400, "\u00e9" * 200,
    "Word" * 120, "a b c d e f g", "snake_case camelCase kebab-case SCREAMING_CASE", "__init__", "a_b__c",
    "'quoted' \"double\" `back`", "...", "....", "?!?!", "--", "---\n", "***bold***", "# Title\n\nText\n",
    "- item\n- item\n", "a.b.c", "a..b", "a,b;c:d", "()[]{}<>", "\\n\\t\\\\", "C:\\path\\file.txt", "/usr/local/bin",
    "https://example.org/a?b=c&d=e#f", "me@example.org", "$100 \u20ac200 \u00a3300", "50% of 3/4", "x=y+z*w/v-u",
    "a<b>c", "a&&b||c", "!x", "~/file", "^caret^", "tab\tseparated\tvalues", '<div class="x">y</div>',
    "for (int i = 0; i < n; ++i) {\n    sum += a[i];\n}\n", "def f(x):\n\treturn x ** 2\n",
    '{"a": [1, 2.5, null], "b": true}', "!Word .Word ,word -word", " !Word", "#hashtag @mention", "a'b 'c d' 'e'",
    "--flag=value -x", "\u2014dash\u2014 \u2026dots\u2026", "\u00abguillemets\u00bb \u201equotes\u201c \u2018x\u2019",
    "\uff08\u5168\u89d2\uff09\uff0c\u3002\uff01\uff1f\uff1b\uff1a", "\uff5e\uff3b\uff3d",
    "\u3001\u3002\u300c\u300d\u3010\u3011", " \u3002 ", " \uff0cx", " \u201cx\u201d", "\u00a1Hola! \u00bfQu\u00e9?",
    "\u00b7 \u2022 \u2023", "\u2192 \u2190 \u21d2", "\u00a9 \u00ae \u2122", "\u00b0C \u00b5m \u03a9",
    "x\u00b2 + y\u00b3", "\u2211 \u222b \u221a \u2260 \u2264", "\u2500\u2502\u250c\u2510", "\u2588\u2591", "\ufffd",
    "a\ufffdb",
]
NUMBERS = [
    "0", "1", "12", "123", "1234", "12345", "1234567890", "3.14159", "1,000,000", "-1", "+1", "1e10", "0x1F", "1_000",
    "1 2 3", " 1", " 12", "  123", "2024-11-22", "12:34:56", "v1.2.3", "a1b2c3", "1st 2nd", "100%",
    "\u00b2\u00b3\u00b9", "\u00bc\u00bd\u00be", "\u2160\u2161\u2167", "\u2460\u2461\u246b", "\uff11\uff12\uff13\uff14",
    "\u0661\u0662\u0663\u0664", "\u06f1\u06f2\u06f3\u06f4", "\u0967\u0968\u0969\u096a", "\u09e7\u09e8\u09e9",
    "\u0e51\u0e52\u0e53", "\u0be7\u0be8\u0bf0", "\u17e1\u17e2\u17e3\u17e4", "\u1041\u1042", "\u3007\u3021\u3022",
    "\u4e00\u4e8c\u4e09\u56db", "\U0001d7d8\U0001d7d9\U0001d7da\U0001d7db", "\U00010107\U00010108",
    "1\u0661\u00b2\u2167", "12\u4e2d34", "3\u5e74", "\u2070\u2074\u2075", "\u0f21\u0f22",
]
SCRIPTS = [
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01", "\u65e9\u4e0a\u7684\u6e2f\u53e3\u5f88\u5b89\u9759\u3002",
    "\u4e2d\u6587 English \u6df7\u5408 text", "\u4e2d\u6587English", "English\u4e2d\u6587", " \u4e2d\u6587",
    "  \u4e2d\u6587", "\u9fa5\u9fa6\u9fff", "\u3400\u4db5", "\U00020000\U0002a6d6", "\uf900\ufa0e", "\u4e00",
    "\u4dff\u4e00\u4e01", "\u3072\u3089\u304c\u306a", "\u30ab\u30bf\u30ab\u30ca",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8", "\u304c\u304b\u3099", "\uff76\uff9e\uff80\uff76\uff85",
    "\u30fc\u30fb\u3005\u3006", "\uc548\ub155\ud558\uc138\uc694", "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "\ud55c\uad6d\uc5b4 \ud14d\uc2a4\ud2b8", "\ud7a3\ud7a4\ud7b0\ud7ff", "\u3131\u314f",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e04\u0e23\u0e31\u0e1a", "\u1780\u17b6\u1793\u17cb\u178f\u17c2",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e",
    "\u09a8\u09ae\u09b8\u09cd\u0995\u09be\u09b0", "\u0bb5\u0ba3\u0b95\u0bcd\u0b95\u0bae\u0bcd",
    "\u0c28\u0c2e\u0c38\u0c4d\u0c15\u0c3e\u0c30\u0c02", "\u0d28\u0d2e\u0d38\u0d4d\u0d15\u0d3e\u0d30\u0d02",
    "\u1019\u1004\u103a\u1039\u1002\u101c\u102c\u1015\u102b", "\u0f56\u0f7c\u0f51\u0f0b\u0f66\u0f90\u0f51\u0f0b",
    "\u1202\u1230\u120b\u121d", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!",
    "\u043d\u0435\u0449\u043e \u043d\u0430 \u0411\u044a\u043b\u0433\u0430\u0440\u0441\u043a\u0438",
    "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u039a\u03cc\u03c3\u03bc\u03b5", "\u1f7d\u1fbe\u1fd3\u1fdb",
    "\u2126\u212a\u212b", "\u03c9\u0301\u03b9\u0390", "\u0531\u0532 \u0561\u0562\u0563", "\u10a0\u10d0\u1c90",
    "\u13a0\uab70\u13f8", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645",
    "\u0627\u0644\u0633\u0651\u064e\u0644\u0627\u0645\u064f", "\u202bRTL\u202c",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd", "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd", "\u0710\u0712",
    "\u07ca\u07cb", "\u00c4pfel \u00d6l \u00dcber \u00df", "\u00e9t\u00e9 na\u00efve fa\u00e7ade",
    "e\u0301te\u0301 nai\u0308ve", "a\u0300\u0301\u0302\u0303", "\u0301x", " \u0301x", "Ti\u1ebfng Vi\u1ec7t",
    "T\u00fcrk\u00e7e \u0130\u0131", "\u0141\u00f3d\u017a", "\u010c\u0161\u017e", "\u01bb\u01c0\u01c3", "\u01c5\u01c8",
    "\u0294\u02b0\u02c6", "\u0250\u0283\u028a", "\u1d2c\u1d43\u1d78\u1d9b", "\u2071\u207f\u2090", "\u2c7c\u2c7d",
    "\ua66e\ua67f", "\ua69c\ua770\ua788", "\ua7f7\ua7fa\ua7b0", "\uab30\uab5a", "\u10d0\u10e5\u10fd", "\u1c80\u1c88",
    "\ufb00\ufb01\ufb13\ufb17", "\uff21\uff42\uff23", "\U00010400\U00010428", "\U000104b0\U000104d8",
    "\U0001d400\U0001d41a", "\U00010c80\U00010cc0", "\U000118a0\U000118c0", "\U0001e900\U0001e922",
    "\U00016e40\U00016e60", "\U0001f130\U0001f150", "\u00aa\u00ba",
    "\u00f8\u00f6\u00fa\u00ff\u00f5\u00f7\u00fb\u00fd\u00c0\u00f9\u00c1\u00fe\u00fc", "na\u00f8ve \u00d8resund",
    "M\u00f6we", "\u00f7 2", "\u00fc\u00fc", "a\u00fcb \u00fc c", "u\u0308", "\u00ad soft\u00adhyphen",
]
EMOJI = [
    "\U0001f600", "\U0001f600\U0001f601", "hi \U0001f600!", "\U0001f44d\U0001f3fd",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f3f3\ufe0f\u200d\U0001f308",
    "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "\u2764\ufe0f", "1\ufe0f\u20e3", "\u2600\u2601", "\U0001f999.cpp",
    "\U0001f680 (normal) \U0001f636\u200d\U0001f32b\ufe0f (joined) \u2705", "a\U0001f600b", "\U0001f600\n",
    " \U0001f600 ", "\U0001f600\u4e2d", "\u00b1\u20e3", "\U000e0041\U000e007f", "\U0010fffd", "\ue000x",
]
SPECIAL_TEXTS = [
    BOS, EOS, USER, ASSISTANT, BOS + USER + "Hi" + ASSISTANT, "a" + EOS, EOS + "a", "a " + EOS + " b",
    "x" + BOS + BOS + "y", USER + "\n\n" + ASSISTANT, " " + USER + " ", "<" + USER + ">", "<\uff5cUser", "<|User|>",
    "<\uff5cuser\uff5c>", BOS[:-1], BOS[1:], "<\uff5cbegin of sentence\uff5c>", "<\uff5cbegin_of_sentence\uff5c>",
    "<|EOT|>", "code<|EOT|>more", "<|EOT|><|EOT|>", "<\uff5ctool\u2581sep\uff5c>",
    "f" + "<\uff5ctool\u2581sep\uff5c>" + "name\n", "<\uff5cfim\u2581hole\uff5c>", "12" + USER + "34",
    "\u4e2d" + ASSISTANT + "\u6587", "<think>\nhm</think>", "\u2581", "\uff5c", "don't" + EOS + "\nUser: 5", "[PAD0]",
    "<pad>", "<s></s>", "<unk>",
]
INVALID = [
    b"\x80", b"\xbf\xbf", b"a\x80b", b"\xc0\x80", b"\xc1\xbf", b"\xc3", b"a\xc3", b"\xc3(", b"\xc3\xa9\xc3", b"\xe4",
    b"\xe4\xb8", b"\xe4\xb8\xad\xe4\xb8", b"\xe4a", b"\xe4\xb8a", b"\xe0\x80\xaf", b"\xe0\x9f\xbf", b"\xe0\xa0\x80",
    b"\xed\x9f\xbf", b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xed\xbf\xbf", b"\xef\xbf\xbf", b"\xf0",
    b"\xf0\x9f", b"\xf0\x9f\x98", b"\xf0\x9f\x98x", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf0\x90\x80\x80",
    b"\xf4\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80",
    b"\xfe", b"\xff", b"\xff\xfe", b"\xfe\xffA", b" \xff ", b"12\xff34", b"word\xffword", b"\xf0\x9f\x98\x80\xf0\x9f",
    b"\xe2\x82\xe2\x82\xac", b"\xf0\x9f\xe4\xb8\xad", b"\xc3\xc3\xa9", b"ok \xe2\x28\xa1", b"\xa0\xa1",
    b"Latin-1: \xe9t\xe9", b"\x93quoted\x94", bytes(range(128, 256)), b"\n\xff\n", b"\xff\r\n",
    b"\xe4\xb8\xad\xff\xe6\x96\x87", b"<\xef\xbd\x9cUser\xef\xbd>",
]


def random_texts(count, seed):
    """Mixtures of neighbours that decide a split: blanks, digits, letters of all classes, punctuation, line ends."""
    generator = random.Random(seed)

    def characters(*categories):  # of Unicode 3.2, on which every library agrees by now
        return [chr(c) for c in range(0x20, 0x20000) if unicodedata.ucd_3_2_0.category(chr(c)) in categories]

    pools = [
        [" "],
        [" ", "\t", "\u00a0", "\u3000"],
        ["\n", "\r", "\r\n"],
        list("0123456789"),
        list("abcdefgh"),
        list("ABCXYZ"),
        list(".,;:!?'\"()[]{}-_/\\@#$%^&*+=<>|~`"),
        [chr(c) for c in range(0xC0, 0x250)],
        [chr(c) for c in range(0x370, 0x500)],
        [chr(c) for c in range(0x4E00, 0x9FA6)],
        [chr(c) for c in range(0x3041, 0x30FF)],
        [chr(c) for c in range(0xAC00, 0xD7A4)],
        characters("Lu", "Ll", "Lt"),
        characters("Lo", "Lm"),
        characters("Mn", "Mc", "Me"),
        characters("Nd", "Nl", "No"),
        characters("Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po"),
        characters("Sm", "Sc", "Sk", "So"),
        characters("Cf", "Zs"),
    ]
    for _ in range(count):
        text = ""
        while len(text) < 4 or generator.random() < 0.85:
            pool = generator.choice(pools)
            text += "".join(generator.choices(pool, k=generator.choice([1, 1, 1, 2, 2, 3, 5])))
        yield text


def plain_texts():
    corpus = (HERE / "corpus.txt").read_text()
    paragraphs = corpus.split("\n\n")
    return WHITESPACE + WORDS + NUMBERS + SCRIPTS + EMOJI + paragraphs + [corpus] + list(random_texts(160, seed=7))


# --- vocabularies ---


def train(pre, n_merges, user_defined):
    """tokenizer.json learned from corpus.txt, with the added tokens of that family."""
    alphabet = [letter for byte, letter in enumerate(LETTERS) if not (user_defined and byte in IMPOSSIBLE_BYTES)]
    empty = tokenizer_json(pre, {}, [], {})
    empty["model"]["merges"] = []
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = Tokenizer.from_str(json.dumps(empty)).pre_tokenizer
    tokenizer.train(
        [str(HERE / "corpus.txt")],
        trainers.BpeTrainer(
            vocab_size=len(alphabet) + n_merges,
            initial_alphabet=alphabet,
            show_progress=False,
            limit_alphabet=len(alphabet),
        ),
    )
    model = json.loads(tokenizer.to_str())["model"]
    result = tokenizer_json(pre, model["vocab"], model["merges"], {})
    n_tokens = len(model["vocab"])
    for i, text in enumerate(SPECIALS + user_defined):
        # V3 publishes <|User|> and the like as tokens that are not "special"; they are control tokens all the same.
        published_special = text in (BOS, EOS, "<|EOT|>") or (pre != "deepseek-v3" and text in SPECIALS)
        result["added_tokens"].append(
            {
                "id": n_tokens + i,
                "content": text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": not published_special,
                "special": published_special,
            }
        )
    return result


def gguf_vocabulary(path, pre, content):
    """The same vocabulary as a GGUF file without tensors."""
    added = content["added_tokens"]
    vocabulary = content["model"]["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.get) + [token["content"] for token in added]
    types = [NORMAL] * len(vocabulary) + [CONTROL if token["content"] in SPECIALS else USER_DEFINED for token in added]
    writer = gguf.GGUFWriter(path, "deepseek2")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(content["model"]["merges"])
    writer.add_bos_token_id(tokens.index(BOS))
    writer.add_eos_token_id(tokens.index(EOS))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def from_gguf(path):
    """A Hugging Face tokenizer with the vocabulary of a GGUF file. -> pre-tokenizer's name, tokenizer.json"""
    fields = {
        name: field.contents() for name, field in gguf.GGUFReader(path).fields.items() if name.startswith("tokenizer")
    }
    pre, tokens, types = (fields["tokenizer.ggml." + key] for key in ("pre", "tokens", "token_type"))
    vocabulary = {token: i for i, token in enumerate(tokens) if types[i] == NORMAL}
    merges = [(left, right) for left, right in (merge.split(" ", 1) for merge in fields["tokenizer.ggml.merges"])]
    result = tokenizer_json(pre, vocabulary, merges, {})
    for i, token in enumerate(tokens):
        if types[i] in (CONTROL, USER_DEFINED):
            control = types[i] == CONTROL
            result["added_tokens"].append(
                {
                    "id": i,
                    "content": token,
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": control,
                }
            )
    return pre, result


def looks_like_control(text):
    return text[:2] in ("<|", "<\uff5c") and text[-2:] in ("|>", "\uff5c>")


class Encoder:
    """encode(text, special): control tokens are found only when `special`, other added tokens always. In a published
    tokenizer.json whatever looks like a control token is one; a GGUF file says itself what is."""

    def __init__(self, content, by_looks=True):
        content = copy.deepcopy(content)
        for token in content["added_tokens"]:
            token["special"] = token["special"] or (by_looks and looks_like_control(token["content"]))
        self.tokenizer = Tokenizer.from_str(json.dumps(content))

    def __call__(self, text, special):
        self.tokenizer.encode_special_tokens = not special
        return self.tokenizer.encode(text, add_special_tokens=False).ids


# --- cases ---


def cases(encode):
    for text in plain_texts():
        yield {"text": text, "special": False, "ids": encode(text, False)}
    for text in SPECIAL_TEXTS:
        for special in (False, True):
            yield {"text": text, "special": special, "ids": encode(text, special)}
    for data in INVALID:
        text = data.decode("utf-8", errors="replace")
        yield {"base64": base64.b64encode(data).decode(), "special": False, "ids": encode(text, False)}


def write_cases(name, vocabulary, encode):
    rows = list(cases(encode))
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)  # ASCII: no editor can normalise it
    (HERE / f"{name}.cases.json").write_text(f'{{"vocabulary":"{vocabulary}","cases":[\n{lines}\n]}}\n')
    print(f"{name}: {len(rows)} cases, {sum(len(row['ids']) for row in rows)} ids")


def check_against_published(encode, path):
    """The .inp/.out pair beside a vocabulary: texts and their ids without specials."""
    texts = path.with_suffix(".inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")[:-1]
    expected = [[int(i) for i in line.split()] for line in path.with_suffix(".out").read_text().splitlines()]
    if len(texts) != len(expected):
        raise SystemExit(f"{path.name}: {len(texts)} texts and {len(expected)} lists of ids")
    for text, ids in zip(texts, expected):
        if encode(text, False) != ids:
            raise SystemExit(f"{path.name}: {text!r} is {encode(text, False)}, published {ids}")


def main():
    for pre, (n_merges, user_defined) in SMALL.items():
        content = train(pre, n_merges, user_defined)
        (HERE / f"{pre}-small.json").write_text(json.dumps(content, indent=0, ensure_ascii=True) + "\n")
        gguf_vocabulary(HERE / f"{pre}-small.gguf", pre, content)
        write_cases(f"{pre}-small", f"{pre}-small.gguf", Encoder(content))
    if len(sys.argv) < 2:
        print("no folder given: the real vocabularies are left as they are")
        return
    data = Path(sys.argv[1])
    write_cases(
        "deepseek-v3",
        "deepseek-v3/tokenizer.json",
        Encoder(json.loads((data / "deepseek-v3/tokenizer.json").read_text())),
    )
    for name in ("deepseek-llm", "deepseek-coder"):
        _, content = from_gguf(data / f"{name}.gguf")
        encode = Encoder(content, by_looks=False)
        if (data / f"{name}.inp").exists():
            check_against_published(encode, data / f"{name}.gguf")
        write_cases(name, f"{name}.gguf", encode)


if __name__ == "__main__":
    main()
