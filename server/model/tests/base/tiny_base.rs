//! The tiny base of tests, and that every way to store a base gives the same base back.

use candle_core::{DType, Tensor};
use whetstone_domain::{Message, Role};
use whetstone_model::config::Family;
use whetstone_model::packed::Packed;
use whetstone_model::tiny::{tiny_base, tiny_base_with, tiny_config, write_base, write_tiny};
use whetstone_model::transformer::Transformer;
use whetstone_model::weights::{Base, Weights};

use crate::oracle::Oracle;
use crate::write_gguf;

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_same_weights(a: &Weights, b: &Weights) {
    let (a, b) = (a.named(), b.named());
    assert_eq!(a.len(), b.len());
    for ((name, a), (other, b)) in a.into_iter().zip(b) {
        assert_eq!(name, other);
        assert_eq!((a.dims(), a.dtype(), b.is_contiguous()), (b.dims(), b.dtype(), true), "{name}");
        assert_eq!(values(a), values(b), "{name}");
    }
}

#[test]
fn a_written_tiny_base_loads_as_it_was_made() {
    let folder = tempfile::tempdir().unwrap();
    write_tiny(folder.path(), 7).unwrap();
    let (made, loaded) = (tiny_base(7).unwrap(), Base::load(folder.path()).unwrap());
    assert_same_weights(&made.weights, &loaded.weights);
    assert_eq!(made.config, loaded.config);
    assert_eq!(made.sha256, loaded.sha256);
    assert_eq!(made.hf_name, loaded.hf_name);
    let text = "Grüße 42 \n\t<|im_start|>user\n🙂<|im_end|>";
    let ids = loaded.tokenizer.encode(text).unwrap();
    assert_eq!(ids, made.tokenizer.encode(text).unwrap());
    assert_eq!(loaded.tokenizer.decode(&ids, false), text);
    assert_eq!(loaded.tokenizer.decode(&ids, true), "Grüße 42 \n\tuser\n🙂");
    assert_eq!(ids.iter().filter(|&&id| id < 3).copied().collect::<Vec<_>>(), [1, 2]);
    let messages = [Message::new(Role::User, "Hi")];
    let chat = loaded.chat_template.render(&messages, true).unwrap();
    assert_eq!(chat, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

#[test]
fn a_seed_names_one_tiny_base() {
    let base = tiny_base(0).unwrap();
    assert_eq!(base.sha256, tiny_base(0).unwrap().sha256);
    assert_ne!(base.sha256, tiny_base(1).unwrap().sha256);
    // A change of this value changes every stored tiny run: change it knowingly.
    assert_eq!(base.sha256, "67e1e3fc09df9dea44571f03c32d9d540fc4e5be595865c5e7b4d7f7a7bb2c5b");
}

#[test]
fn a_gguf_gives_the_base_that_was_converted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let base = tiny_base(3).unwrap();
    write_gguf(&base, &path, |_| {});
    for path in [path.as_path(), folder.path()] {
        let loaded = Base::load(path).unwrap();
        assert_same_weights(&base.weights, &loaded.weights);
        assert_eq!(base.config, loaded.config);
        assert_eq!(loaded.name, "tiny");
        let text = "a1 b22\n 3<|im_end|>";
        let ids = loaded.tokenizer.encode(text).unwrap();
        assert_eq!(ids, base.tokenizer.encode(text).unwrap());
    }
    let oracle = Oracle::new(&base).unwrap();
    let logits = oracle.last_logits(&[1, 50, 51, 52]).unwrap();
    assert!(logits.iter().all(|x| x.is_finite()));
}

#[test]
fn other_families_and_dtypes_survive_a_folder() {
    let config = whetstone_model::config::ModelConfig {
        family: Family::Qwen3,
        qk_norm: true,
        tie_word_embeddings: false,
        head_dim: 32,
        ..tiny_config()
    };
    for (family, qk_norm, qkv_bias) in [(Family::Qwen3, true, false), (Family::Qwen2, false, true)] {
        let config = whetstone_model::config::ModelConfig { family, qk_norm, qkv_bias, ..config.clone() };
        let base = tiny_base_with(config, 5).unwrap();
        let folder = tempfile::tempdir().unwrap();
        write_base(&base, folder.path()).unwrap();
        let loaded = Base::load(folder.path()).unwrap();
        assert_eq!(base.config, loaded.config);
        assert_same_weights(&base.weights, &loaded.weights);
        let wide = base.weights.to_dtype(&base.config, DType::F64).unwrap();
        assert!(wide.named().iter().all(|(_, tensor)| tensor.dtype() == DType::F64));
    }
}

#[test]
fn shards_and_half_precision_are_read() {
    let base = tiny_base(2).unwrap();
    let folder = tempfile::tempdir().unwrap();
    write_base(&base, folder.path()).unwrap();
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let mut map = serde_json::Map::new();
    let mut shards = [std::collections::HashMap::new(), std::collections::HashMap::new()];
    for (i, (name, tensor)) in base.weights.named().into_iter().enumerate() {
        let dtype = [DType::BF16, DType::F16][i % 2];
        map.insert(name.clone(), format!("model-{}.safetensors", i % 2).into());
        shards[i % 2].insert(name, tensor.to_dtype(dtype).unwrap());
    }
    for (i, shard) in shards.iter().enumerate() {
        let path = folder.path().join(format!("model-{i}.safetensors"));
        candle_core::safetensors::save(shard, path).unwrap();
    }
    let index = serde_json::json!({ "weight_map": map }).to_string();
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    let loaded = Base::load(folder.path()).unwrap();
    for (i, ((name, a), (_, b))) in base.weights.named().into_iter().zip(loaded.weights.named()).enumerate() {
        assert_eq!(b.dtype(), [DType::BF16, DType::F16][i % 2], "as narrow as they are");
        let b = b.to_dtype(DType::F32).unwrap();
        let close = values(a).iter().zip(values(&b)).all(|(a, b)| (a - b).abs() <= 0.01 * a.abs());
        assert!(close, "{name}");
    }
    // what is mixed in the file is one in the model
    let widened = loaded.weights.to_dtype(&loaded.config, DType::F32).unwrap();
    let mut packed = Packed::default();
    packed.push(None, &[1, 50, 51, 52]);
    for bf16 in [false, true] {
        let hidden = |weights: &Weights| {
            let model = Transformer::new(&loaded.config, weights.clone(), 16, bf16).unwrap();
            assert_eq!(model.dtype(), DType::F32);
            values(&model.hidden(None, &packed).unwrap())
        };
        assert_eq!(hidden(&loaded.weights), hidden(&widened));
    }
}

#[test]
fn scaled_rotary_frequencies_are_read_from_either_file() {
    let scaled = |divisors: &[f32]| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        let mut base = tiny_base(0).unwrap();
        base.config.rope_divisors = divisors.iter().copied().map(f64::from).collect();
        write_gguf(&base, &path, |_| {});
        Base::load(&path).map(|base| base.config.rope_divisors)
    };
    let divisors = [1.0, 1.0, 1.0, 2.5, 8.0, 8.0, 8.0, 8.0];
    assert_eq!(scaled(&divisors).unwrap(), divisors.map(f64::from));
    for (bad, why) in [(&[1.0; 7][..], "shape [7], expected [8]"), (&[0.0; 8], "divided by 0"), (&[f32::NAN; 8], "NaN")] {
        let error = scaled(bad).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("tiny.gguf"), "{error}");
    }
    // transformers 5.23, `_compute_llama3_parameters`, of head width 16 and base 10,000
    let folder = tempfile::tempdir().unwrap();
    write_tiny(folder.path(), 0).unwrap();
    let path = folder.path().join("config.json");
    let plain: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let load = |key: &str, value: serde_json::Value| {
        let mut scaling = serde_json::json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64});
        scaling[key] = value;
        let mut config = plain.clone();
        config["rope_scaling"] = scaling;
        std::fs::write(&path, config.to_string()).unwrap();
        Base::load(folder.path()).map(|base| base.config.rope_divisors)
    };
    let got = load("factor", serde_json::json!(8.0)).unwrap();
    let want = [1.0, 1.293_975_95, 7.667_385, 8.0, 8.0, 8.0, 8.0, 8.0];
    assert!(got.len() == 8 && got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-5 * b), "{got:?}");
    for (key, value, why) in [
        ("factor", serde_json::json!(null), "`llama3` without `factor`"),
        ("factor", serde_json::json!(-8.0), "`factor` -8"),
        ("low_freq_factor", serde_json::json!(4.0), "`low_freq_factor` 4, not below `high_freq_factor` 4"),
        ("original_max_position_embeddings", serde_json::json!(0), "`original_max_position_embeddings` 0"),
    ] {
        let error = load(key, value).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("config.json"), "{error}");
    }
}
