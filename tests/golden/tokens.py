"""Token ids of awkward strings: tokens.py MODEL.gguf OUT.json   (needs tokenizers, gguf)

Oracle for the tokenizer built from a GGUF with `tokenizer.ggml.pre = smollm`. SmolLM2's own tokenizer.json pre-tokenises with
Sequence[Digits(individual), ByteLevel(no prefix space, regex)] over a byte-level BPE without unknown token; here the vocabulary, the merges and
the special tokens (token type 3) come from the GGUF, and `tokenizers` does the rest. transformers' GGUF loader leaves the Digits step out, so it
is no oracle (it differs on four of these texts). Writes [{"text", "ids"}]; special tokens written in a text are parsed as such, none is added.
The vocabulary lacks some bytes (0x04, 0x06, 0x13, 0xf1 ...); no text here holds one, so every text decodes to itself, which is asserted.
"""
import json, sys
from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

SPECIAL = 3  # gguf.TokenType.CONTROL

TEXTS = [
    # nothing, blanks, line ends
    "", " ", "  ", "   x", "\n", "\n\n", "\n\n\n  \n", "\t", "\t\tx", "a\tb", "line one\r\nline two\r\n", "\r", "trailing spaces   ", "trailing newline\n",
    " leading space", "   three leading spaces", "a  b   c    d", "x \n y", "x\n y", "non\u00a0breaking\u00a0space", "\u3000wide\u2003em\u200bzero",
    # words, apostrophes, punctuation
    "Hello, world!", "Hello World", "hello", "I'm we're they've he'll she'd it's don't", "I'M WE'RE DON'T", "rock'n'roll ''quoted'' 'tis", "it\u2019s a curly one",
    "well-known, e.g. this... (or that)?!", "#!/usr/bin/env", "C:\\path\\to\\file.txt", "https://example.org/a?b=c&d=%20e#f", "user.name+tag@example.co.uk", "___init___ snake_case camelCase SCREAMING",
    "!!!???***---===", "<<>>[[]]{{}}", "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    # digits
    "0", "7", "42", "12345678901234567890", "3.14159265", "-1e-10 +2E+5", "1,000,000.50", "$99.95 at 20%", "a1b2c3", "x=10\ny=20\n30\n", "\n1", "\n\n2024-02-29T23:59:60Z", " 5 6  7", "year 2024, 10:30am", "v1.2.3-rc4",
    "\u0661\u0662\u0663 \u0967\u0968\u0969 \u00bd \u00b2 \u2167 \u2460", "\uff11\uff12\uff13",
    # other scripts, marks, emoji
    "na\u00efve caf\u00e9 \u00fcber stra\u00dfe \u0141\u00f3d\u017a", "cafe\u0301 n\u0303 a\u030a\u0323", "Z\u0351\u036b\u0343a\u0363\u0348lg\u0321o", "\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\u65e5\u672c\u8a9e\u306e\u30c6\u30b9\u30c8 \u30ab\u30bf\u30ab\u30ca", "\ud55c\uad6d\uc5b4 \ubb38\uc7a5",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! 123", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "\u05e9\u05dc\u05d5\u05dd", "\u0939\u093f\u0928\u094d\u0926\u0940 \u0915\u094d\u0937", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac", "\U0001f600", "\U0001f44d\U0001f3fd ok",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f1f3\U0001f1f4\U0001f1e9\U0001f1ea", "\u2764\ufe0f \u2192 \u221e \u2211 \u2260 \u20ac \u00a3 \u00a5", "\ufeffbom", "\x00\x01\x7f", "\ufffd", "\U00020000\U0010ffff",
    # code
    "def f(x, *args, **kw):\n    return x[0] + 1  # comment\n", "fn main() {\n\tlet v: Vec<u8> = vec![0x1F, 1_000];\n\tprintln!(\"{v:?}\");\n}\n", "for (int i = 0; i < n; ++i) { a[i] += b[i]; }",
    "SELECT * FROM t WHERE id >= 10 AND name LIKE '%x%';", "<div class=\"a b\">&nbsp;</div>", "$$\\frac{a_1}{b^{2}}$$",
    # tool calls
    "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\", \"unit\": \"celsius\"}}", "{\"name\":\"math.multiply\",\"arguments\":{\"a\":12,\"b\":-9.5,\"ok\":true,\"none\":null,\"list\":[1,2,3]}}", "{\n  \"a\": [\n    1,\n    22\n  ]\n}", "\"escaped \\\"quote\\\" and \\u00e9 and \\n\"",
    "Function: get_weather(city: string, unit: string?) - Get the current weather in a city.\nRequest: What's the weather in Oslo at 7:05?", "<tool_call>\n{\"name\": \"f\"}\n</tool_call>", "```json\n[]\n```",
    # chat markers and near misses
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\n2+2=?<|im_end|>\n", " <|im_end|> x", "a<|im_end|>b", "<|im_end|><|im_end|>\n", "<|endoftext|>", "<|im_start|", "<| im_start |>", "<|IM_START|>", "<repo_name>a/b<file_sep>c.py\n1<jupyter_code>",
]


def build(path):
    fields = GGUFReader(path).fields
    pre = fields["tokenizer.ggml.pre"].contents()
    assert pre == "smollm", f"no oracle for pre-tokenizer {pre!r}"
    tokens, types = fields["tokenizer.ggml.tokens"].contents(), fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, kind in zip(tokens, types) if kind == SPECIAL])
    assert tok.get_vocab_size() == len(tokens)
    return tok


def main():
    tok = build(sys.argv[1])
    rows = [{"text": t, "ids": tok.encode(t, add_special_tokens=False).ids} for t in TEXTS]
    assert all(tok.decode(r["ids"], skip_special_tokens=False) == r["text"] for r in rows)
    with open(sys.argv[2], "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")
    print(len(rows), "texts,", sum(len(r["ids"]) for r in rows), "tokens")


if __name__ == "__main__":
    main()
