//! One adapter as a zip with its model card: the same bytes each time.

use std::io::Write as _;
use std::path::Path as FilePath;

use sha2::{Digest as _, Sha256};
use whetstone_domain::{CheckpointRecord, Phase};
use whetstone_store::RunRow;

use crate::problem::Problem;
use crate::words;

/// The zip of a checkpoint whose files are in `folder`; refused where the weights are not those that were recorded.
pub(crate) fn zip(run: &RunRow, c: &CheckpointRecord, folder: &FilePath, result: Option<&str>) -> Result<Vec<u8>, Problem> {
    let read = |name: &str| {
        std::fs::read(folder.join(name)).map_err(|e| {
            tracing::error!(error = %e, run = run.public_id, name, "a file of a checkpoint cannot be read");
            Problem::conflict(format!("{name} of this checkpoint cannot be read; take another one."))
        })
    };
    let (config, weights) = (read("adapter_config.json")?, read("adapter_model.safetensors")?);
    if words::hex(&Sha256::digest(&weights)) != c.adapter_sha256 {
        return Err(Problem::conflict("The file is not the one that was recorded: its sha256 differs. Take another checkpoint."));
    }
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    // no times of today: the same adapter is the same zip
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(0o644);
    let card = card(run, c, &config, result);
    for (name, bytes) in [("adapter_config.json", &config), ("adapter_model.safetensors", &weights), ("README.md", &card.into_bytes())] {
        zip.start_file(name, options).map_err(|e| Problem::internal(&e))?;
        zip.write_all(bytes).map_err(|e| Problem::internal(&e))?;
    }
    Ok(zip.finish().map_err(|e| Problem::internal(&e))?.into_inner())
}

fn card(run: &RunRow, c: &CheckpointRecord, config: &[u8], result: Option<&str>) -> String {
    let config: serde_json::Value = serde_json::from_slice(config).unwrap_or_default();
    let base = config["base_model_name_or_path"].as_str().unwrap_or("the base");
    let phase = if c.phase == Phase::Grpo { "GRPO" } else { "warm-start" };
    format!(
        "---\nbase_model: {base}\nlibrary_name: peft\npipeline_tag: text-generation\ntags: [lora, grpo, tool-calling, whetstone]\n---\n\n\
         # {base}, taught to call tools\n\nA LoRA adapter made by whetstone {version}: {phase} step {step} of run {run}. {result}\n\n\
         It fits exactly the base weights with sha256 `{base_sha}`. The adapter's own sha256 is `{sha}`.\n\n\
         ```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
         tokenizer = AutoTokenizer.from_pretrained(\"{base}\")\n\
         model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(\"{base}\"), \"path/to/this/folder\")\n\
         # as in training: a template that can think first is told not to\n\
         prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, enable_thinking=False)\n```\n\n\
         ```\nvllm serve {base} --enable-lora --lora-modules tools=path/to/this/folder\n```\n",
        version = run.code_version,
        step = c.step,
        run = run.public_id,
        result = result.unwrap_or("This checkpoint was not measured."),
        base_sha = run.base_sha256,
        sha = c.adapter_sha256,
    )
}
