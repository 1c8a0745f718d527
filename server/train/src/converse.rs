//! Station *rollout*, several turns: drives every row of a decoder to its end, running tools between the model's turns.
//!
//! In: a decoder with its rows forked, and the problem of each row. Out: tokens, turns and, for conversations, what happened.
//! What a tool said is appended as tokens with mask 0; nothing that has been sampled is ever tokenised again.

use std::time::Duration;

use whetstone_domain::config::ToolUse;
use whetstone_domain::{ConfigError, ExpectedAnswer, Problem, Role, StopReason, ToolCall, ToolFailure, ToolResult, Turn};
use whetstone_model::generate::{Completion, Decoder};
use whetstone_tools::{Settings, StepCache, Toolbox};
use whetstone_tooluse::conversation::{Conversation, Next, Transcript};
use whetstone_tooluse::{format, matching};

use crate::error::{Result, TrainError};
use crate::policy::Policy;
use crate::pool::Prepared;

/// What starts the programs of tools: this binary, even where its file has been replaced since.
const THIS_BINARY: &str = "/proc/self/exe";

/// What one row came to.
#[derive(Debug, Clone)]
pub struct Sampled {
    /// Its tokens.
    pub completion: Completion,
    /// Who wrote which of them.
    pub turns: Vec<Turn>,
    /// The conversation; none where calls are the answer.
    pub transcript: Option<Transcript>,
}

/// Limits of a run's tools.
pub fn settings(tools: &ToolUse) -> Settings {
    Settings {
        timeout: Duration::from_secs_f64(tools.timeout),
        programs: tools.programs.then(|| THIS_BINARY.into()),
        hosts: tools.hosts.clone(),
        ..Settings::default()
    }
}

/// Tokens that a row may have in all: a turn's, or a conversation's where one of the problems is worked on in several turns.
pub fn room(policy: &Policy, problems: &[&Prepared], turn: usize, tools: &ToolUse) -> usize {
    let prompt = problems.iter().map(|p| p.ids.len()).max().unwrap_or_default();
    match problems.iter().any(|p| p.problem.is_conversation()) {
        true => tools.max_tokens.max(turn).min(policy.positions.saturating_sub(prompt)),
        false => turn,
    }
}

/// [`serve`] for a decoder whose rows are all forked: `problems` are theirs, in that order.
pub fn drive(
    policy: &Policy,
    decoder: Decoder,
    problems: &[&Problem],
    turn: usize,
    tools: &ToolUse,
    cache: &mut StepCache,
    go_on: impl FnMut(usize) -> bool,
) -> Result<Option<Vec<Sampled>>> {
    let mut all = problems.to_vec();
    serve(policy, decoder, turn, tools, cache, |_, _| Ok(std::mem::take(&mut all)), go_on)
}

/// Steps until every conversation is over. Before each token `feed(decoder, over)` is told which rows are over since the last one, may
/// fork further rows and gives their problems; then `go_on` (live rows) is asked, and when it says no, so does this. `turn` is the most
/// tokens of one turn of the model; `cache` holds what tools have said in this step or evaluation. In the order of the rows.
pub fn serve<'p>(
    policy: &Policy,
    mut decoder: Decoder,
    turn: usize,
    tools: &ToolUse,
    cache: &mut StepCache,
    mut feed: impl FnMut(&mut Decoder, &[usize]) -> Result<Vec<&'p Problem>>,
    mut go_on: impl FnMut(usize) -> bool,
) -> Result<Option<Vec<Sampled>>> {
    let mut talks: Vec<Talk> = Vec::new();
    loop {
        let mut over = Vec::new();
        for (row, talk) in talks.iter_mut().enumerate().filter(|(_, t)| !t.over) {
            // what tools say leaves room for a turn of the model
            let left = decoder.room(row);
            let room = left - turn.min(left / 2);
            if let Some(ids) = talk.ended(decoder.completion(row), room, cache)? {
                decoder.force(row, &ids);
                decoder.limit_turn(row, turn);
                talk.shown(decoder.completion(row));
            }
            if talk.over {
                over.push(row);
            }
        }
        let come = feed(&mut decoder, &over)?;
        let waited = come.is_empty();
        for problem in come {
            decoder.limit_turn(talks.len(), turn);
            talks.push(Talk::new(policy, problem, tools));
        }
        let live = decoder.live();
        if live > 0 && !go_on(live) {
            return Ok(None);
        }
        // rows without room for a token are over as they come, and others may wait behind them
        if !decoder.step()? && waited {
            break;
        }
    }
    let rows = decoder.into_completions().into_iter().zip(talks);
    Ok(Some(rows.map(|(completion, talk)| Sampled { completion, turns: talk.turns, transcript: talk.transcript }).collect()))
}

/// Ids and mask of a conversation as the model should have held it: each expected call, what the tool says to it, the answer. A
/// problem whose expected calls fail, or do not fit the limits of a conversation, is an error that names it.
pub fn gold(policy: &Policy, problem: &Problem, tools: &ToolUse) -> Result<(Vec<u32>, Vec<u8>)> {
    let calls = matching::canonical(problem);
    let refuse = |key: &str, detail: String| Err(ConfigError { pointer: format!("tools.{key}"), detail }.into());
    if calls.len() >= tools.max_turns {
        let detail = format!("is {}, but problem {} needs {} calls and an answer", tools.max_turns, problem.id, calls.len());
        return refuse("max_turns", detail);
    }
    let (mut ids, mut mask) = (Vec::new(), Vec::new());
    let mut talk = Talk::new(policy, problem, tools);
    let mut say = |text: &str, ids: &mut Vec<u32>, mask: &mut Vec<u8>| -> Result<()> {
        let answer = policy.answer(text)?;
        ids.extend_from_slice(&answer);
        mask.resize(ids.len(), 1);
        if let (Next::CallTools(calls), _) = talk.conversation.turn(text, StopReason::Eos) {
            let room = tools.max_tokens.saturating_sub(ids.len());
            ids.extend(talk.run(&calls, answer.last().copied(), room, &mut StepCache::default())?);
            mask.resize(ids.len(), 0);
            if let Some(failed) = talk.conversation.exchanges().iter().find(|e| e.result.failure.is_some()) {
                let (problem, call, reason) = (problem.id.clone(), failed.call.name.clone(), failed.result.text.clone());
                return Err(TrainError::ExpectedCall { problem, call, reason });
            }
        }
        Ok(())
    };
    for call in calls {
        say(&format::write(policy.format, &[call]), &mut ids, &mut mask)?;
    }
    let words = problem.answer.as_ref().map(ExpectedAnswer::spoken).unwrap_or_default();
    say(&words, &mut ids, &mut mask)?;
    if ids.len() > tools.max_tokens {
        let detail = format!(
            "is {}, but problem {} needs {} tokens for its calls, their results and the answer",
            tools.max_tokens,
            problem.id,
            ids.len()
        );
        return refuse("max_tokens", detail);
    }
    Ok((ids, mask))
}

/// One row's conversation; a problem whose calls are the answer is one of a single turn.
struct Talk<'a> {
    policy: &'a Policy,
    problem: &'a Problem,
    settings: Settings,
    conversation: Conversation,
    /// Made with the first call: most rollouts of a weak model never make one.
    toolbox: Option<Toolbox>,
    turns: Vec<Turn>,
    transcript: Option<Transcript>,
    over: bool,
}

impl<'a> Talk<'a> {
    fn new(policy: &'a Policy, problem: &'a Problem, tools: &ToolUse) -> Self {
        Self {
            policy,
            problem,
            settings: settings(tools),
            conversation: Conversation::new(policy.format, tools.max_turns),
            toolbox: None,
            turns: Vec::new(),
            transcript: None,
            over: false,
        }
    }

    fn turn(&mut self, role: Role, completion: &Completion) {
        let (start, end) = (self.turns.last().map_or(0, |t| t.end), completion.ids.len());
        let text = self.policy.base.tokenizer.decode(&completion.ids[start..end], false);
        let told = self.turns.iter().map(|t| t.exchanges.len()).sum();
        let exchanges = self.conversation.exchanges().get(told..).unwrap_or_default().to_vec();
        self.turns.push(Turn { role, start, end, text, exchanges });
    }

    /// What is to be appended to a row that has ended its turn, at most `room` tokens; none while it has not, and when all is over.
    fn ended(&mut self, completion: &Completion, room: usize, cache: &mut StepCache) -> Result<Option<Vec<u32>>> {
        let Some(stop) = completion.stop else { return Ok(None) };
        let start = self.turns.last().map_or(0, |t| t.end);
        self.turn(Role::Assistant, completion);
        self.over = true;
        if !self.problem.is_conversation() {
            return Ok(None);
        }
        let (next, transcript) = self.conversation.turn(&self.policy.text(&completion.ids[start..]), stop);
        self.transcript = Some(transcript);
        let Next::CallTools(calls) = next else {
            self.toolbox = None; // what it started ends with it
            return Ok(None);
        };
        self.over = false;
        self.run(&calls, completion.ids.last().copied(), room, cache).map(Some)
    }

    /// The results have been appended. Where they filled the row, it is over.
    fn shown(&mut self, completion: &Completion) {
        self.turn(Role::Tool, completion);
        if completion.stop.is_some() {
            self.over = true;
            self.toolbox = None;
            if let Some(transcript) = &mut self.transcript {
                transcript.exchanges = self.conversation.exchanges().to_vec();
                transcript.stop = StopReason::Length;
            }
        }
    }

    /// Runs calls; ids of the message that shows their results, up to the model's next turn. Results that would take more than `room`
    /// tokens are shortened, the longest first, with a note that the model sees. Tools that do not start fail the call: other rollouts
    /// may fare better.
    fn run(&mut self, calls: &[ToolCall], last: Option<u32>, room: usize, cache: &mut StepCache) -> Result<Vec<u32>> {
        let started = match self.toolbox.take() {
            Some(toolbox) => Ok(toolbox),
            None => Toolbox::new(&self.problem.environment.clone().unwrap_or_default(), &self.problem.tools, &self.settings),
        };
        let mut results: Vec<ToolResult> = match &started {
            Ok(toolbox) => calls.iter().map(|call| self.harmless(toolbox.call(call, cache))).collect(),
            Err(e) => calls.iter().map(|_| self.harmless(ToolResult::failed(ToolFailure::Failed, e))).collect(),
        };
        self.toolbox = started.ok();
        let mut ids = self.policy.between(last, &results)?;
        while ids.len() > room
            && let Some(longest) = results.iter_mut().max_by_key(|r| r.text.len())
            && shorten(&mut longest.text)
        {
            ids = self.policy.between(last, &results)?;
        }
        self.conversation.results(results);
        Ok(ids)
    }

    /// A result that spells out a control token of the base could forge a turn.
    fn harmless(&self, result: ToolResult) -> ToolResult {
        match self.policy.base.tokenizer.marker_in(&result.text) {
            Some(_) => ToolResult::failed(ToolFailure::Forbidden, "the result holds a control token of the model and is not shown"),
            None => result,
        }
    }
}

/// Halves a result and says so; false where there is little left to take.
fn shorten(text: &mut String) -> bool {
    let shown = text.rfind(CUT).map_or(text.as_str(), |at| &text[..at]);
    let left = shown.chars().count() / 2;
    if left < SHORTEST_RESULT {
        return false;
    }
    let start: String = shown.chars().take(left).collect();
    *text = format!("{start}{CUT}there was no room for more than these {left} characters]");
    true
}

/// Begins the note of a result that was cut, here as in the tools' own limit.
const CUT: &str = "\n[cut: ";
/// A result of fewer characters is not halved.
const SHORTEST_RESULT: usize = 20;
