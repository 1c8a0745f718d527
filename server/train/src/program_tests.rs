use whetstone_domain::{Expected, Matcher, Message, Role};

use super::*;

fn problem() -> Problem {
    Problem {
        id: "p-1".into(),
        messages: vec![Message::new(Role::User, "q")],
        tools: vec![],
        expected: Expected::default(),
        matcher: Matcher::Bfcl,
        domain: String::new(),
        difficulty: 0,
        environment: None,
        answer: None,
    }
}

fn ask(program: &mut Program, text: &str) -> Result<(Reward, String)> {
    program.ask(Question { id: 0, step: 3, problem: &problem(), text, calls: None, outcome: Outcome::BadJson })
}

/// A program of a few lines of shell, started anew for every test.
fn shell(script: &str, milliseconds: u64) -> Program {
    let folder = tempfile::tempdir().expect("temporary folder").keep();
    let path = folder.join("reward.sh");
    std::fs::write(&path, script).expect("written");
    Program::new(&format!("sh '{}'", path.display()), Duration::from_millis(milliseconds)).expect("words")
}

const COUNTS: &str = "n=0\nwhile read -r line; do\n  case \"$line\" in *die*) exit 7;; *sleep*) sleep 20;; esac\n  \
    echo \"{\\\"id\\\": $(echo \"$line\" | sed 's/^{\"id\":\\([0-9]*\\).*/\\1/'), \\\"reward\\\": $n, \\\"parts\\\": {\\\"seen\\\": $n}, \\\"why\\\": \\\"counted\\\"}\"\n  \
    n=$((n+1))\ndone\n";

#[test]
fn a_program_answers_question_by_question() {
    let mut program = shell(COUNTS, 20_000);
    for n in 0..3 {
        let (reward, why) = ask(&mut program, "text").expect("an answer");
        assert_eq!((reward.total, why.as_str()), (f64::from(n), "counted"));
        assert_eq!(reward.parts.iter().map(|p| (p.name.as_str(), p.weight)).collect::<Vec<_>>(), [("command", 1.0), ("seen", 0.0)]);
    }
}

#[test]
fn a_program_that_died_is_started_again() {
    let mut program = shell(COUNTS, 20_000);
    assert_eq!(ask(&mut program, "a").expect("an answer").0.total, 0.0);
    assert_eq!(ask(&mut program, "b").expect("an answer").0.total, 1.0);
    if let Some(running) = &mut program.running {
        running.child.kill().expect("killed");
    }
    assert_eq!(ask(&mut program, "c").expect("an answer").0.total, 0.0, "a fresh one counts from 0");
}

#[test]
fn a_program_that_dies_or_is_silent_twice_ends_with_the_reason() {
    let error = ask(&mut shell(COUNTS, 20_000), "die").expect_err("it dies").to_string();
    assert!(error.contains("exit status: 7") && error.contains("twice in a row on problem p-1"), "{error}");
    let error = ask(&mut shell(COUNTS, 300), "sleep").expect_err("it sleeps").to_string();
    assert!(error.contains("no answer within 0.3 s"), "{error}");
    let big = "x".repeat(1 << 20);
    let error = ask(&mut shell("sleep 20", 300), &big).expect_err("it never reads").to_string();
    assert!(error.contains("no answer within"), "{error}");
}

#[test]
fn what_a_program_started_ends_with_it() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let list = folder.path().join("pids");
    // a program that stays silent, and one that dies before what it started
    for (end, words) in [("sleep 60", "no answer within"), ("exit 3", "exit status: 3")] {
        let script = format!("sleep 60 > /dev/null & echo $! >> '{}'\nread -r line\n{end}\n", list.display());
        let error = ask(&mut shell(&script, 2000), "t").expect_err("it never answers").to_string();
        assert!(error.contains(words), "{error}");
    }
    let pids = std::fs::read_to_string(&list).expect("written by the program");
    assert_eq!(pids.lines().count(), 4, "each of them was started twice");
    for pid in pids.lines().map(|pid| pid.parse::<u32>().expect("a process id")) {
        let until = std::time::Instant::now() + Duration::from_secs(10);
        // one that nobody asks how it ended keeps its id, but no memory
        while crate::metrics::resident_bytes_of(pid) > 0 {
            assert!(std::time::Instant::now() < until, "process {pid} was left behind");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn an_answer_that_is_none_is_named() {
    for (script, words) in [
        ("read x; echo hello", "answered \"hello\""),
        ("read x; echo '{\"id\": 5, \"reward\": 1}'", "answered question 5 when asked question 0"),
        ("read x; echo '{\"id\": 0, \"reward\": \"much\"}'", "is not"),
        ("read x; echo '{\"id\": 0}'", "missing field `reward`"),
    ] {
        let error = ask(&mut shell(script, 20_000), "t").expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    }
    let error = ask(&mut Program::new("/no/such/program", Duration::from_secs(1)).expect("words"), "t").expect_err("none").to_string();
    assert!(error.contains("/no/such/program") && error.contains("cannot be started"), "{error}");
}

#[test]
fn a_command_line_is_split_without_a_shell() {
    let split = |line| words(line).expect("words");
    assert_eq!(split("python3  r.py -x 'a b' \"c'd\" e\"f g\"h ''"), ["python3", "r.py", "-x", "a b", "c'd", "ef gh", ""]);
    assert_eq!(split("a $HOME; rm | b"), ["a", "$HOME;", "rm", "|", "b"]);
    assert!(words("a 'b").is_err() && words("  ").is_err());
}
