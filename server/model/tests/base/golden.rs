//! SmolLM2 against what transformers computed on the same GGUF, stored in `fixtures/`.

use serde::Deserialize;
use whetstone_domain::Message;
use whetstone_model::chat::ChatTemplate;
use whetstone_model::testing;

use crate::oracle::Oracle;

fn fixture<T: for<'de> Deserialize<'de>>(name: &str) -> T {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct TokenIds {
    text: String,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Chat {
    template: String,
    cases: Vec<ChatCase>,
}

#[derive(Deserialize)]
struct ChatCase {
    name: String,
    messages: Vec<Message>,
    add_generation_prompt: bool,
    text: String,
}

#[derive(Deserialize)]
struct Logits {
    gguf_sha256: String,
    cases: Vec<LogitsCase>,
}

#[derive(Deserialize)]
struct LogitsCase {
    name: String,
    ids: Vec<u32>,
    stride: usize,
    logits: Vec<f32>,
    argmax: usize,
}

#[test]
fn token_ids_equal_the_original_tokenizers() {
    let tokenizer = testing::smollm2().unwrap().tokenizer;
    let stored: Vec<TokenIds> = fixture("token_ids.json");
    assert!(stored.len() >= 50);
    for TokenIds { text, ids } in &stored {
        assert_eq!(&tokenizer.encode(text).unwrap(), ids, "{text:?}");
        assert_eq!(&tokenizer.decode(ids, false), text);
    }
}

#[test]
fn chat_text_equals_transformers() {
    let Chat { template, cases } = fixture("chat.json");
    let base = testing::smollm2().unwrap();
    assert_eq!(base.chat_template.source(), template);
    for case in cases {
        let text = base.chat_template.render(&case.messages, case.add_generation_prompt).unwrap();
        assert_eq!(text, case.text, "{}", case.name);
    }
}

#[test]
fn dequantised_weights_give_transformers_logits() {
    let base = testing::smollm2().unwrap();
    let oracle = Oracle::new(&base).unwrap();
    let Logits { gguf_sha256, cases } = fixture("logits.json");
    assert_eq!(base.sha256, gguf_sha256);
    assert!(cases.len() >= 3);
    for LogitsCase { name, ids, stride, logits, argmax } in cases {
        let ours = oracle.last_logits(&ids).unwrap();
        assert_eq!(ours.len(), base.config.vocab_size);
        let worst = ours.iter().step_by(stride).zip(&logits).map(|(a, b)| (a - b).abs());
        let worst = worst.inspect(|d| assert!(d.is_finite())).fold(0.0, f32::max);
        assert!(worst <= 1e-3, "{name}: largest difference {worst}");
        let top = ours.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        assert_eq!(top, argmax, "{name}");
    }
}

#[test]
fn smollm2_is_read_as_it_was_published() {
    let base = testing::smollm2().unwrap();
    let c = &base.config;
    assert_eq!((c.hidden_size, c.intermediate_size, c.num_layers), (576, 1536, 30));
    assert_eq!((c.num_heads, c.num_kv_heads, c.head_dim, c.vocab_size), (9, 3, 64, 49152));
    assert_eq!((c.rms_norm_eps, c.rope_theta, c.max_position_embeddings), (1e-5, 1e5, 8192));
    assert!(c.tie_word_embeddings && base.weights.lm_head.is_none());
    assert_eq!(c.eos_token_ids, [2]);
    assert_eq!(base.tokenizer.id_of("<|im_end|>"), Some(2));
    assert_eq!(base.tokenizer.vocab_size(), 49152);
    assert_eq!(base.hf_name, "HuggingFaceTB/SmolLM2-135M-Instruct");
    assert_eq!(base.tokenizer.marker_in("forged <|im_end|> turn"), Some("<|im_end|>"));
    assert_eq!(base.tokenizer.marker_in("plain < text"), None);
}

#[test]
fn templates_render_as_transformers_renders_them() {
    let render = |source: &str| {
        let messages: Vec<Message> =
            serde_json::from_str(r#"[{"role": "system", "content": " Sé <b>'brief'</b> & \"kind\" "}, {"role": "user", "content": "Hi"}]"#)
                .unwrap();
        ChatTemplate::new(source, "<s>", "</s>").unwrap().render(&messages, true).unwrap()
    };
    // Expected texts: transformers 5.23 with the same source and messages; the day is ours.
    let cases = [
        ("{{ messages[0].content.strip() | upper }}", "SÉ <B>'BRIEF'</B> & \"KIND\""),
        (
            "{{ messages | tojson }}",
            r#"[{"role": "system", "content": " Sé <b>'brief'</b> & \"kind\" "}, {"role": "user", "content": "Hi"}]"#,
        ),
        ("{{ messages[1] | tojson(indent=2) }}", "{\n  \"role\": \"user\",\n  \"content\": \"Hi\"\n}"),
        ("{% for m in messages[::-1] %}{{ m.role }},{% endfor %}", "user,system,"),
        ("{% for m in messages %}\n  {% if loop.last %}\n{{ m.role }}\n  {% endif %}\n{% endfor %}\n", "user\n"),
        ("{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}{% break %}{% endfor %}", "user"),
        ("a {%- generation -%} b {%- endgeneration %} c{% if tools is not none %}T{% endif %}", "ab c"),
        ("{{ true }} {{ none }} {{ false | string }} {{ 2.0 | string }} {{ messages[1].role | string }}", "True None False 2.0 user"),
        ("{{ bos_token + eos_token }}{{ none_such }}{{ strftime_now('%d %b %Y') }}", "<s></s>26 Jul 2024"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "2"),
    ];
    for (source, expected) in cases {
        assert_eq!(render(source), expected, "{source}");
    }
}
