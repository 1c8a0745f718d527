use super::*;

#[test]
fn a_spec_is_written_as_it_is_read() {
    for text in [
        "starter",
        "starter:wide-held-out",
        "starter:tools",
        "mix:1*starter+0.5*starter:tools-held-out",
        "bfcl:multiple",
        "file:a+b*c#1.jsonl",
        "file:x.jsonl#format=xlam#split=tool:held-out:3#difficulty=1-2#order=difficulty",
        "mix:0.7*starter+0.3*file:x+y.jsonl#split=domain:train:0",
        "mix:1*starter#difficulty=3-3+2.5*starter:wide#order=difficulty",
    ] {
        assert_eq!(Spec::parse(text).expect(text).to_string(), text);
    }
    let short = Spec::parse(" starter#split=tool:train#difficulty=2 ").expect("short forms");
    assert_eq!(short.to_string(), "starter#split=tool:train:0#difficulty=2-2");
    assert!(Spec::parse("mix:1*starter+1*starter:wide").expect("a mix").is_generated());
    assert!(Spec::parse("mix:1*starter+1*bfcl:multiple").expect("a mix").needs_bfcl());
    let moved = Spec::parse("mix:1*file:a.jsonl+1*starter").expect("a mix").map_paths(|p| Ok::<_, ()>(PathBuf::from("/d").join(p)));
    assert_eq!(moved.expect("mapped").to_string(), "mix:1*file:/d/a.jsonl+1*starter");
}

#[test]
fn a_spec_that_is_none_says_why() {
    for (text, words) in [
        ("", "is no task set"),
        ("starter:train", "is no task set"),
        ("starter#color=red", "is no task set"),
        ("mix:starter", "WEIGHT*SPEC"),
        ("mix:", "WEIGHT*SPEC"),
        ("mix:0*starter", "WEIGHT*SPEC"),
        ("mix:1*starter+1*nothing", "is no task set"),
        ("starter#split=tool", "#split=tool:train:0"),
        ("starter#split=tool:train:x", "#split=tool:train:0"),
        ("starter#difficulty=3-1", "#difficulty=1-2"),
        ("starter#order=size", "#order=difficulty"),
        ("starter#format=xlam", "file: only"),
        ("starter#split=tool:train#split=tool:held-out", "split is given twice"),
        ("starter#difficulty=1#order=difficulty#difficulty=2", "difficulty is given twice"),
        ("starter#order=difficulty#order=difficulty", "order is given twice"),
        ("mix:1*starter+1*file:x#format=own#format=xlam", "format is given twice"),
        ("file:x#format=csv", "known are own, openai, xlam, seal, bfcl"),
    ] {
        let error = Spec::parse(text).expect_err(text).to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}
