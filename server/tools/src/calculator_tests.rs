use super::*;

#[test]
fn arithmetic_has_the_precedence_of_mathematics() {
    for (text, shown) in [
        ("2 + 3 * 4", "14"),
        ("(2 + 3) * 4", "20"),
        ("-2^2", "-4"),
        ("2^3^2", "512"),
        ("2**-1", "0.5"),
        ("10 - 4 - 3", "3"),
        ("7 % 3", "1"),
        ("-7 % 3", "2"),
        ("0.1 + 0.2", "0.3"),
        ("3 * 4.20 + 2 * 1.10", "14.8"),
        ("1e3 / 8", "125"),
        ("round(10/3, 2)", "3.33"),
        ("max(1, 2, 3) + min(4, 5)", "7"),
        ("SQRT(2)", "1.4142135623731"),
        ("2 * pi", "6.28318530717959"),
        ("--3", "3"),
        (" .5 ", "0.5"),
        ("1/3", "0.333333333333333"),
        ("2^60", "1.15292150460685e18"),
        ("1/3000000000", "3.33333333333333e-10"),
    ] {
        assert_eq!(evaluate(text).map(show).as_deref(), Ok(shown), "{text}");
    }
}

#[test]
fn remainders_are_exact_and_have_the_divisors_sign() {
    for (text, shown) in
        [("10^16 % 3", "1"), ("1e17 % 7", "5"), ("-7 % 3", "2"), ("7 % -3", "-2"), ("-7 % -3", "-1"), ("-6 % 3", "0"), ("5.5 % 2", "1.5")]
    {
        assert_eq!(evaluate(text).map(show).as_deref(), Ok(shown), "{text}");
    }
    let tiny = evaluate("1e308 % 1e-308").expect("a remainder");
    assert!((0.0..1e-308).contains(&tiny), "{tiny}");
}

#[test]
fn halves_are_rounded_away_from_zero_with_and_without_places() {
    for (text, shown) in [
        ("round(2.5)", "3"),
        ("round(2.5, 0)", "3"),
        ("round(-2.5)", "-3"),
        ("round(-2.5, 0)", "-3"),
        ("round(0.125, 2)", "0.13"),
        ("round(-0.125, 2)", "-0.13"),
        ("round(2.675, 2)", "2.68"),
        ("round(1.005, 2)", "1.01"),
        ("round(2.4999, 0)", "2"),
        ("round(10/3, 2)", "3.33"),
        ("round(1e300, 12)", "1e300"),
        ("round(123456789012.5)", "123456789013"),
        ("round(123456789012345.6)", "123456789012346"),
    ] {
        assert_eq!(evaluate(text).map(show).as_deref(), Ok(shown), "{text}");
    }
}

#[test]
fn fifteen_digits_are_shown() {
    for (text, shown) in [
        ("123456789012.5", "123456789012.5"),
        ("0.1 + 0.2", "0.3"),
        ("1234567.12345678", "1234567.12345678"),
        ("123456789012345", "123456789012345"),
    ] {
        assert_eq!(evaluate(text).map(show).as_deref(), Ok(shown), "{text}");
    }
}

#[test]
fn what_cannot_be_computed_is_named() {
    for (text, reason) in [
        ("", "ends where a number"),
        ("2 +", "ends where a number"),
        ("1/0", "division by zero"),
        ("5 % (3 - 3)", "division by zero"),
        ("0^-1", "division by zero"),
        ("9^9^9", "too large"),
        ("1e308 * 10", "too large"),
        ("1e999", "too large"),
        ("sqrt(-1)", "not a real number"),
        ("(-8)^0.5", "not a real number"),
        ("ln(0)", "not positive"),
        ("(1 + 2", "not closed"),
        ("1 2", "unexpected '2' at character 3"),
        ("1.2.3", "is no number"),
        ("foo", "unknown name"),
        ("__import__(1)", "unexpected '_'"),
        ("open(1)", "unknown function"),
        ("sqrt()", "does not take 0"),
        ("round(1, 99)", "0 to 12"),
        ("1,000", "unexpected ','"),
        ("2 × 3", "unexpected '×' at character 3"),
        ("\u{0}1", "unexpected '\\0'"),
    ] {
        let error = evaluate(text).expect_err(text);
        assert!(error.contains(reason), "{text}: {error}");
    }
    for nested in ["(".repeat(400), "-".repeat(900), "2^".repeat(400), "abs(".repeat(200)] {
        assert!(evaluate(&nested).expect_err("deep").contains("nested deeper"), "{nested}");
    }
    assert!(evaluate(&"1+".repeat(5000)).expect_err("long").contains("at most 1000"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_calculator_panic_or_give_what_is_no_number(text in "[-+*/%^(),.0-9a-z πé\\n]{0,60}|\\PC{0,40}") {
        if let Ok(value) = evaluate(&text) {
            proptest::prop_assert!(value.is_finite());
            proptest::prop_assert!(show(value).parse::<f64>().is_ok(), "{}", show(value));
        }
    }
}
