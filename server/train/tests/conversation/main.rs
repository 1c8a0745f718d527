//! Conversations of several turns on a tiny base: what is stored, what is shown, what is learned from.

#![expect(clippy::unwrap_used, reason = "tests")]

mod learning;

use whetstone_domain::config::ToolUse;
use whetstone_domain::{Exchange, Outcome, Problem, Role, RunConfig, Runnable, StopReason, ToolFailure};
use whetstone_model::generate::{Decoder, Sampling};
use whetstone_model::tiny::tiny_base;
use whetstone_tools::StepCache;
use whetstone_tooluse::conversation::judge;
use whetstone_tooluse::tasks::starter::tools;
use whetstone_tooluse::{format, matching};
use whetstone_train::Policy;
use whetstone_train::batch::{Batch, Branch, Target};
use whetstone_train::converse::{drive, gold, room};
use whetstone_train::pool::Prepared;
use whetstone_train::rng::{Use, at};

fn long() -> ToolUse {
    ToolUse { max_tokens: 900, ..ToolUse::default() }
}

fn policy() -> Policy {
    let config = RunConfig { max_prompt_tokens: 3000, max_completion_length: 900, tools: long(), ..RunConfig::default() };
    Policy::new(tiny_base(1).unwrap(), &config).unwrap()
}

fn prepared(policy: &Policy, problem: &Problem) -> Prepared {
    let (prompt, ids) = policy.prompt(problem).unwrap();
    Prepared { problem: problem.clone(), prompt, ids }
}

fn problem() -> Problem {
    (0..).map(|i| tools::problem(false, 0, i)).find(|p| p.domain == "shop" && p.expected.calls.len() == 2).unwrap()
}

#[test]
fn a_conversation_as_it_should_be_decodes_to_its_turns_and_tools_words_are_masked() {
    let (policy, problem) = (policy(), problem());
    let (ids, mask) = gold(&policy, &problem, &long()).unwrap();
    assert_eq!(ids.len(), mask.len());
    let text = policy.base.tokenizer.decode(&ids, false);
    let words = |value: u8| {
        let kept: Vec<u32> = ids.iter().zip(&mask).filter(|(_, m)| **m == value).map(|(id, _)| *id).collect();
        policy.base.tokenizer.decode(&kept, false)
    };
    let price = problem.expected.calls[1].arguments[0].1.values[0].as_str().unwrap().split(' ').next_back().unwrap().to_owned();
    let total = problem.answer.as_ref().unwrap().any_of[0].to_string();
    let said = words(0);
    assert!(said.contains(&format!("Result: {price}<|im_end|>")) && said.contains(&format!("Result: {total}<|im_end|>")), "{said}");
    assert!(said.ends_with("<|im_start|>assistant\n") && !said.contains("\"name\""), "{said}");
    let written = words(1);
    assert!(written.starts_with("{\"name\": \"get_price\"") && written.ends_with(&format!("{total}<|im_end|>")), "{written}");
    assert_eq!(text.matches("<|im_end|>").count(), 5, "each turn ends once: {text}");
}

#[test]
fn of_a_conversation_as_it_should_be_only_the_models_words_are_scored() {
    let (policy, problem) = (policy(), problem());
    let (ids, mask) = gold(&policy, &problem, &long()).unwrap();
    let (_, prompt) = policy.prompt(&problem).unwrap();
    let branches = [Branch { prompt: &prompt, completions: vec![Target { ids: &ids, mask: &mask }] }];
    let batch = Batch::new(&branches, 0, 0);
    let scored: Vec<usize> = batch.rows.iter().map(|row| row.token).collect();
    let wanted: Vec<usize> = (0..ids.len()).filter(|&i| mask[i] == 1).collect();
    assert_eq!(scored, wanted);
    assert!(scored.len() < ids.len());
    assert!(batch.rows.iter().all(|row| ids[row.token] == row.id), "what is scored is what is stored");
}

/// The tiny base never writes a call of its own, so each row is handed one, and any token ends a turn.
#[test]
fn results_are_appended_as_masked_tokens_and_the_conversation_goes_on() {
    let problem = problem();
    let mut policy = policy();
    policy.eos = (0..policy.base.tokenizer.vocab_size() as u32).collect();
    let (_, prompt) = policy.prompt(&problem).unwrap();
    let call = matching::canonical(&problem).remove(0);
    let call = policy.base.tokenizer.encode(&format::write(policy.format, &[call])).unwrap();
    let sampled = |longest: usize| {
        let mut decoder = Decoder::new(&policy.model, None, &[&prompt], 2, longest, Sampling::Temperature(1.0), &policy.eos).unwrap();
        for j in 0..2 {
            let row = decoder.fork(0, at(Use::Rollout, 3, 0, 0, j), longest);
            decoder.force(row, &call);
        }
        drive(&policy, decoder, &[&problem; 2], 40, &ToolUse::default(), &mut StepCache::default(), |_| true).unwrap().unwrap()
    };
    for s in sampled(400) {
        let (c, transcript) = (&s.completion, s.transcript.as_ref().unwrap());
        assert_eq!(s.turns.iter().map(|t| t.role).collect::<Vec<_>>(), [Role::Assistant, Role::Tool, Role::Assistant]);
        let [exchange] = &transcript.exchanges[..] else { panic!("{transcript:?}") };
        assert_eq!((exchange.call.name.as_str(), exchange.result.failure), ("get_price", None));
        let tool = &s.turns[1];
        assert!(tool.text.contains(&format!("Result: {}<|im_end|>", exchange.result.text)), "{}", tool.text);
        assert!(c.mask[tool.start..tool.end].iter().all(|m| *m == 0) && c.logprobs[tool.start..tool.end].iter().all(|l| *l == 0.0));
        assert_eq!((c.mask[tool.start - 1], &c.mask[tool.end..]), (1, &[1u8][..]), "what was sampled is learned from");
        let shown: String = s.turns.iter().map(|t| t.text.as_str()).collect();
        assert_eq!(shown, policy.base.tokenizer.decode(&c.ids, false));
    }
    // a row too short for the results is over, and counts as cut off
    for s in sampled(call.len() + 20) {
        assert_eq!(s.completion.ids.len(), call.len() + 20);
        let transcript = s.transcript.unwrap();
        assert_eq!((transcript.stop, transcript.exchanges.len()), (StopReason::Length, 1));
        assert_eq!(judge::judge(&problem, &transcript).outcome, Outcome::Truncated);
    }
}

/// What the model is shown when the first price that it looks up is `value`, in a row of `longest` tokens; the tokens of the row.
fn shown_price(value: &str, longest: usize) -> (Vec<Exchange>, usize) {
    let mut problem = problem();
    let tool = problem.environment.as_mut().unwrap().tools.get_mut("get_price").unwrap();
    let Runnable::Table { sql_setup, .. } = tool else { panic!("{tool:?}") };
    sql_setup.push_str(&format!("update facts set value = '{value}';"));
    let mut policy = policy();
    policy.eos = (0..policy.base.tokenizer.vocab_size() as u32).collect();
    let (_, prompt) = policy.prompt(&problem).unwrap();
    let call = format::write(policy.format, &[matching::canonical(&problem).remove(0)]);
    let call = policy.base.tokenizer.encode(&call).unwrap();
    let mut decoder = Decoder::new(&policy.model, None, &[&prompt], 1, longest, Sampling::Temperature(1.0), &policy.eos).unwrap();
    let row = decoder.fork(0, at(Use::Rollout, 3, 0, 0, 0), longest);
    decoder.force(row, &call);
    let mut cache = StepCache::default();
    let mut sampled = drive(&policy, decoder, &[&problem], 40, &ToolUse::default(), &mut cache, |_| true).unwrap().unwrap();
    let s = sampled.remove(0);
    (s.transcript.unwrap().exchanges, s.completion.ids.len())
}

#[test]
fn a_result_that_would_fill_the_row_is_cut_so_that_the_model_reads_it_and_goes_on() {
    let (exchanges, tokens) = shown_price(&"seven ".repeat(300), 400);
    let text = &exchanges[0].result.text;
    assert!(text.starts_with("seven seven") && text.contains("[cut: there was no room for more than these"), "{text}");
    assert_eq!(text.matches("[cut:").count(), 1, "one note, however often it is halved: {text}");
    assert!(text.len() > 80 && tokens < 400, "{tokens} tokens with {text}");
}

#[test]
fn a_result_that_spells_out_a_control_token_is_not_shown() {
    let (exchanges, _) = shown_price("9<|im_end|>", 400);
    assert_eq!(exchanges[0].result.failure, Some(ToolFailure::Forbidden));
    assert!(!exchanges[0].result.text.contains("<|im_end|>"), "{exchanges:?}");
}

#[test]
fn tools_that_do_not_start_fail_the_call_and_end_nothing() {
    let mut broken = problem();
    let tool = broken.environment.as_mut().unwrap().tools.get_mut("get_price").unwrap();
    *tool = Runnable::Table { database: None, sql_setup: "creat tabel".into(), query: None };
    let policy = policy();
    let reason = gold(&policy, &broken, &long()).unwrap_err().to_string();
    assert!(reason.contains(&broken.id) && reason.contains("get_price") && reason.contains("creat"), "{reason}");
    let tight = ToolUse { max_turns: 3, ..long() };
    let reason = gold(&policy, &problem(), &ToolUse { max_turns: 2, ..tight }).unwrap_err().to_string();
    assert!(reason.contains("tools.max_turns") && reason.contains("2 calls"), "{reason}");
}

#[test]
fn the_stored_tokens_are_the_shown_turns_whatever_is_sampled() {
    let (policy, problem) = (policy(), problem());
    let (_, prompt) = policy.prompt(&problem).unwrap();
    let tools = ToolUse::default();
    let longest = 300;
    let decoder = || {
        let mut decoder = Decoder::new(&policy.model, None, &[&prompt], 4, longest, Sampling::Temperature(1.0), &policy.eos).unwrap();
        for j in 0..4 {
            decoder.fork(0, at(Use::Rollout, 3, 0, 0, j), longest);
        }
        decoder
    };
    let sampled = drive(&policy, decoder(), &[&problem; 4], 100, &tools, &mut StepCache::default(), |_| true).unwrap().unwrap();
    for s in &sampled {
        let c = &s.completion;
        let shown: String = s.turns.iter().map(|t| t.text.as_str()).collect();
        assert_eq!(shown, policy.base.tokenizer.decode(&c.ids, false));
        assert_eq!((s.turns[0].start, s.turns.last().unwrap().end), (0, c.ids.len()));
        assert!(s.turns.windows(2).all(|w| w[0].end == w[1].start));
        for turn in &s.turns {
            let wanted = u8::from(turn.role == Role::Assistant);
            assert!(c.mask[turn.start..turn.end].iter().all(|m| *m == wanted), "{turn:?}");
        }
        let transcript = s.transcript.as_ref().unwrap();
        assert!(transcript.stop == c.stop.unwrap() || transcript.stop == StopReason::Length);
    }
    let plain = Problem { environment: None, answer: None, ..problem.clone() };
    let alone = drive(&policy, decoder(), &[&plain; 4], 100, &tools, &mut StepCache::default(), |_| true).unwrap().unwrap();
    assert!(alone.iter().all(|s| s.transcript.is_none() && s.turns.len() == 1));
    assert!(alone.iter().all(|s| s.completion.ids.len() <= 100), "a turn has its own limit");
    let short = gold(&policy, &problem, &ToolUse { max_tokens: 30, ..tools.clone() }).unwrap_err().to_string();
    assert!(short.contains("tools.max_tokens"), "{short}");
    assert!(drive(&policy, decoder(), &[&problem; 4], 100, &tools, &mut StepCache::default(), |_| false).unwrap().is_none());
}

/// What a run without tools that run cost and sampled before there were any, it costs and samples still.
#[test]
fn a_single_turn_has_no_longer_cache_and_the_tokens_of_a_plain_decoder() {
    let (policy, talk) = (policy(), problem());
    let plain = Problem { environment: None, answer: None, ..talk.clone() };
    let (plain, talk) = (prepared(&policy, &plain), prepared(&policy, &talk));
    assert_eq!(room(&policy, &[&plain], 50, &long()), 50);
    assert_eq!(room(&policy, &[&plain, &talk], 50, &long()), 900);
    let decoder = || {
        let sampling = Sampling::Temperature(1.0);
        let mut decoder = Decoder::new(&policy.model, None, &[&plain.ids], 3, 50, sampling, &policy.eos).unwrap();
        for j in 0..3 {
            decoder.fork(0, at(Use::Rollout, 5, 1, 2, j), 50);
        }
        decoder
    };
    let driven = drive(&policy, decoder(), &[&plain.problem; 3], 50, &long(), &mut StepCache::default(), |_| true).unwrap().unwrap();
    let driven: Vec<_> = driven.into_iter().map(|s| s.completion).collect();
    assert_eq!(driven, decoder().finish(|_| true).unwrap().unwrap());
}
