//! Damaged, foreign and missing files: an error that names the place, never a panic.

use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::Value;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;
use whetstone_model::chat::ChatTemplate;
use whetstone_model::tiny::{tiny_base, write_tiny};
use whetstone_model::weights::Base;

use crate::write_gguf;

fn tiny_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_tiny(folder.path(), 0).unwrap();
    folder
}

fn tiny_gguf() -> (TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    write_gguf(&tiny_base(0).unwrap(), &path, |_| {});
    let bytes = std::fs::read(&path).unwrap();
    (folder, path, bytes)
}

/// The error of loading `path` must contain every one of `parts`.
fn assert_refused(path: &Path, parts: &[&str]) {
    let error = match Base::load(path) {
        Ok(_) => panic!("{} loaded", path.display()),
        Err(error) => error.to_string(),
    };
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}

fn edit_json(path: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    let mut value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    edit(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

#[test]
fn a_missing_model_says_how_to_get_one() {
    assert_refused(Path::new("no/such.gguf"), &["no/such.gguf", "not found", "whetstone model fetch"]);
    let empty = tempfile::tempdir().unwrap();
    assert_refused(empty.path(), &["config.json", "not found"]);
}

#[test]
fn a_truncated_gguf_is_refused_at_every_length() {
    let (_folder, path, bytes) = tiny_gguf();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let random = (0..40).map(|_| rng.random_range(0..bytes.len()));
    for length in [0, 3, 8, 24, 100, bytes.len() - 1].into_iter().chain(random.collect::<Vec<_>>()) {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert_refused(&path, &["tiny.gguf"]);
    }
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert_refused(&path, &["tensor `", "remaining"]);
}

#[test]
fn damaged_gguf_bytes_never_panic() {
    let (_folder, path, bytes) = tiny_gguf();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    // Nearly all of the file is weights, where any byte is a number: damage the header.
    let header = 12_000.min(bytes.len());
    for _ in 0..300 {
        let mut damaged = bytes.clone();
        for _ in 0..rng.random_range(1..4) {
            damaged[rng.random_range(0..header)] = rng.random();
        }
        std::fs::write(&path, &damaged).unwrap();
        let _ = Base::load(&path);
    }
    let noise: Vec<u8> = (0..4096).map(|_| rng.random()).collect();
    std::fs::write(&path, noise).unwrap();
    assert_refused(&path, &["tiny.gguf", "damaged or not a model file", "magic"]);
}

#[test]
fn gguf_metadata_that_we_do_not_run_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let base = tiny_base(0).unwrap();
    let text = |s: &str| Value::String(s.to_owned());
    let cases: [(&str, Option<Value>, &str); 9] = [
        ("general.architecture", Some(text("mamba")), "architecture `mamba`"),
        ("general.architecture", None, "general.architecture"),
        ("general.alignment", Some(Value::U32(0)), "its header makes no sense"),
        ("llama.rope.scaling.type", Some(text("yarn")), "rope scaling `yarn`"),
        ("llama.block_count", None, "llama.block_count"),
        ("llama.attention.head_count", Some(Value::U32(0)), "num_attention_heads"),
        ("llama.embedding_length", Some(text("64")), "llama.embedding_length"),
        ("tokenizer.ggml.pre", Some(text("chameleon")), "unknown pre-tokenizer `chameleon`"),
        ("tokenizer.chat_template", None, "tokenizer.chat_template"),
    ];
    for (key, value, part) in cases {
        write_gguf(&base, &path, |metadata| match value {
            Some(value) => drop(metadata.insert(key.to_owned(), value)),
            None => drop(metadata.remove(key)),
        });
        assert_refused(&path, &["tiny.gguf", part]);
    }
    write_gguf(&base, &path, |metadata| {
        metadata.insert("llama.feed_forward_length".to_owned(), Value::U32(96));
    });
    assert_refused(&path, &["blk.0.ffn_gate.weight", "shape [128, 64], expected [96, 64]"]);
    write_gguf(&base, &path, |metadata| {
        metadata.insert("llama.block_count".to_owned(), Value::U32(u32::MAX >> 5));
    });
    assert_refused(&path, &["blk.2.attn_norm.weight", "missing"]);
}

#[test]
fn config_json_that_we_do_not_run_is_named() {
    let cases = [
        ("architectures", serde_json::json!(["MambaForCausalLM"]), "architecture `MambaForCausalLM`"),
        ("rope_scaling", serde_json::json!({"rope_type": "llama3", "factor": 8.0}), "rope scaling `llama3` without `low_freq_factor`"),
        ("rope_scaling", serde_json::json!({"type": "linear", "factor": 2.0}), "rope scaling `linear`"),
        ("rope_parameters", serde_json::json!({"rope_type": "default", "partial_rotary_factor": 0.5}), "partial_rotary_factor"),
        ("hidden_act", serde_json::json!("gelu"), "hidden_act `gelu`"),
        ("attention_bias", serde_json::json!(true), "attention_bias"),
        ("hidden_size", serde_json::json!("wide"), "expected usize"),
        ("hidden_size", serde_json::json!(0), "`hidden_size` is 0"),
        ("num_key_value_heads", serde_json::json!(3), "not a multiple of 3"),
        ("rms_norm_eps", serde_json::json!(-1.0), "`rms_norm_eps` is -1"),
        ("eos_token_id", serde_json::json!(9999), "`eos_token_id` 9999"),
        ("vocab_size", serde_json::json!(200), "expected [200, 64]"),
        ("intermediate_size", serde_json::json!(96), "gate_proj.weight`: shape [128, 64], expected [96, 64]"),
        ("num_hidden_layers", serde_json::json!(3), "`model.layers.2.input_layernorm.weight`: missing"),
        ("tie_word_embeddings", serde_json::json!(false), "`lm_head.weight`: missing"),
    ];
    for (key, value, part) in cases {
        let folder = tiny_folder();
        edit_json(&folder.path().join("config.json"), |config| config[key] = value);
        assert_refused(folder.path(), &[folder.path().to_str().unwrap(), part]);
    }
    for head_dim in [1u64 << 63, 1_000_000_000_000_000_000, 10_000_000_000] {
        let folder = tiny_folder();
        edit_json(&folder.path().join("config.json"), |config| {
            config["head_dim"] = head_dim.into();
            config["rope_scaling"] = serde_json::json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64});
        });
        assert_refused(folder.path(), &["config.json", "`head_dim` is"]);
    }
    let folder = tiny_folder();
    edit_json(&folder.path().join("config.json"), |config| {
        config.as_object_mut().unwrap().remove("num_hidden_layers");
    });
    assert_refused(folder.path(), &["config.json", "num_hidden_layers"]);
}

#[test]
fn both_spellings_of_the_rotary_base_are_read() {
    let folder = tiny_folder();
    edit_json(&folder.path().join("config.json"), |config| {
        config.as_object_mut().unwrap().remove("rope_theta");
        config["rope_parameters"] = serde_json::json!({"rope_theta": 5e5, "rope_type": "default"});
    });
    assert_eq!(Base::load(folder.path()).unwrap().config.rope_theta, 5e5);
}

#[test]
fn broken_files_of_a_folder_are_named() {
    for (file, content, part) in [
        ("config.json", "{", "config.json"),
        ("generation_config.json", "[]", "generation_config.json"),
        ("tokenizer.json", "{\"model\": 3}", "not a usable tokenizer.json"),
        ("tokenizer.json", "\u{0}", "not a usable tokenizer.json"),
        ("tokenizer_config.json", "{\"chat_template\": 3}", "tokenizer_config.json"),
        ("tokenizer_config.json", "{}", "without chat format"),
        ("tokenizer_config.json", "{\"chat_template\": \"{% for %}\"}", "chat template: does not parse"),
        ("model.safetensors", "nonsense", "safetensors"),
        ("model.safetensors.index.json", "{\"weight_map\": {\"a\": \"../up.safetensors\"}}", "outside the folder"),
        ("model.safetensors.index.json", "{\"weight_map\": {\"a\": \"gone.safetensors\"}}", "gone.safetensors"),
    ] {
        let folder = tiny_folder();
        std::fs::write(folder.path().join(file), content).unwrap();
        assert_refused(folder.path(), &[part]);
    }
    for file in ["tokenizer.json", "model.safetensors"] {
        let folder = tiny_folder();
        std::fs::remove_file(folder.path().join(file)).unwrap();
        assert_refused(folder.path(), &[file, "not found"]);
    }
}

#[test]
fn safetensors_cut_short_or_of_integers_are_refused() {
    let folder = tiny_folder();
    let path = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    for length in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert_refused(folder.path(), &["model.safetensors", "damaged"]);
    }
    let mut changed = bytes.clone();
    let first = changed.windows(5).position(|window| window == b"\"F32\"").unwrap();
    changed[first..first + 5].copy_from_slice(b"\"I32\"");
    std::fs::write(&path, changed).unwrap();
    assert_refused(folder.path(), &["tensor `", "type I32, expected BF16, F16 or F32"]);
}

#[test]
fn a_template_that_raises_says_its_reason() {
    let template = ChatTemplate::new("{{ raise_exception('roles must alternate') }}", "", "").unwrap();
    let error = template.render(&[], true).unwrap_err().to_string();
    assert!(error.contains("roles must alternate"), "{error}");
}
