//! The tiny base of tests, and that every way to store a base gives the same base back.

use candle_core::{DType, Device, Tensor};
use whetstone_domain::{Message, Role};
use whetstone_model::config::Family;
use whetstone_model::tiny::{tiny_base, tiny_base_with, tiny_config, write_base, write_tiny};
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
        let wide = base.weights.to(&base.config, DType::F64, &Device::Cpu).unwrap();
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
    for ((name, a), (_, b)) in base.weights.named().into_iter().zip(loaded.weights.named()) {
        assert_eq!(b.dtype(), DType::F32);
        let close = values(a).iter().zip(values(b)).all(|(a, b)| (a - b).abs() <= 0.01 * a.abs());
        assert!(close, "{name}");
    }
}
