//! Expressions come from people who may mean harm, and what they see comes from apps. Whatever both are: no panic, no end of
//! the process, and no more memory and steps than a bound, which is counted and not timed.
//!
//! `make test` tries a few thousand at random; `make fuzz CASES=1000000` as many as one likes. A case that fails is
//! shrunk and shown; it belongs into [`bombs`], whatever it was.
#![allow(unsafe_code, clippy::unwrap_used, clippy::print_stdout, missing_docs, unreachable_pub)]

mod allocator;
mod bombs;
mod inputs;
mod sources;

use std::sync::{Mutex, PoisonError};

use allocator::{Counting, Taken, count};
use integration_operator::provider::expression::{
    EvaluateError, Expression, ExpressionError, LARGEST_RESULT, Variables,
};
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The counters are those of the process, so one test runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// The most memory that compiling one source takes.
const COMPILE_MEMORY: usize = 4 * MIB;
/// The most requests for memory of compiling one source.
const COMPILE_STEPS: usize = 200_000;
/// The most memory that evaluating one expression takes.
const EVALUATE_MEMORY: usize = 64 * MIB;
/// The most requests for memory of evaluating one expression.
const EVALUATE_STEPS: usize = 2_000_000;
/// The most bytes that evaluating one expression copies.
const EVALUATE_COPIES: usize = 256 * MIB;
/// What the parser may keep for good over all cases: it learns, within the bounds of its grammar.
const KEPT: usize = 64 * MIB;

const MIB: usize = 1024 * 1024;
/// The stack of a worker of tokio, on which expressions are evaluated.
const STACK: usize = 2 * MIB;

/// How far the cases went.
#[derive(Debug, Default)]
struct Census {
    cases: usize,
    compiled: usize,
    evaluated: usize,
    compile: Taken,
    evaluate: Taken,
}

/// Compiles and evaluates once; says what was wrong with that.
fn attempt(source: &str, variables: &Variables, census: &mut Census) -> Result<(), String> {
    census.cases += 1;
    let (compiled, taken) = count(|| Expression::compile(source));
    most(&mut census.compile, taken);
    within("compiling", "memory", taken.most, COMPILE_MEMORY)?;
    within("compiling", "steps", taken.requests, COMPILE_STEPS)?;
    let expression = match compiled {
        Ok(expression) => expression,
        Err(ExpressionError::Panicked) => return Err("the parser panicked".to_owned()),
        Err(_) => return Ok(()),
    };
    census.compiled += 1;
    let (result, taken) = count(|| expression.evaluate(variables));
    most(&mut census.evaluate, taken);
    within("evaluating", "memory", taken.most, EVALUATE_MEMORY)?;
    within("evaluating", "steps", taken.requests, EVALUATE_STEPS)?;
    within("evaluating", "copies", taken.copied, EVALUATE_COPIES)?;
    match result {
        Ok(value) => {
            census.evaluated += 1;
            within("the result", "bytes", serde_json::to_vec(&value).unwrap().len(), LARGEST_RESULT)
        }
        Err(EvaluateError::Panicked) => Err("the evaluator panicked".to_owned()),
        Err(_) => Ok(()),
    }
}

fn within(step: &str, what: &str, found: usize, bound: usize) -> Result<(), String> {
    if found <= bound { Ok(()) } else { Err(format!("{step} took {found} of {what}; the bound is {bound}")) }
}

fn most(so_far: &mut Taken, taken: Taken) {
    so_far.most = so_far.most.max(taken.most);
    so_far.requests = so_far.requests.max(taken.requests);
    so_far.copied = so_far.copied.max(taken.copied);
}

/// Runs on a stack as small as the operator's. A stack that overflows ends the process, and so the test.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::Builder::new().stack_size(STACK).spawn(work).unwrap().join().unwrap();
}

#[test]
fn whatever_comes_stays_within_bounds() {
    let cases = std::env::var("CASES").map_or(3_000, |text| text.parse().expect("CASES is a number"));
    let (census, taken) = count(|| fuzz(cases));
    println!("{census:#?}\nkept: {}", taken.kept);
    assert!(taken.kept <= KEPT, "{} bytes are kept for good", taken.kept);
    // Sources that are all refused would prove little.
    assert!(census.compiled * 5 >= census.cases, "{census:?}");
    assert!(census.evaluated * 20 >= census.cases, "{census:?}");
}

fn fuzz(cases: u32) -> Census {
    let census = std::sync::Arc::new(Mutex::new(Census::default()));
    let counted = std::sync::Arc::clone(&census);
    on_a_small_stack(move || {
        let config = Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
        let strategy = (sources::source(), inputs::variables());
        let outcome = TestRunner::new(config).run(&strategy, |(source, variables)| {
            let mut census = counted.lock().unwrap_or_else(PoisonError::into_inner);
            attempt(&source, &variables, &mut census).map_err(TestCaseError::fail)
        });
        match outcome {
            Ok(()) => {}
            Err(TestError::Fail(why, (source, variables))) => {
                let text = format!("{variables:?}");
                let short: String = text.chars().take(2_000).collect();
                panic!("{why}\nsource: {source:?}\nvariables: {short}")
            }
            Err(TestError::Abort(why)) => panic!("{why}"),
        }
    });
    std::sync::Arc::try_unwrap(census).unwrap().into_inner().unwrap()
}

#[test]
fn known_bombs() {
    on_a_small_stack(|| {
        let mut census = Census::default();
        let inputs = bombs::inputs();
        for source in bombs::sources() {
            for variables in &inputs {
                if let Err(why) = attempt(&source, variables, &mut census) {
                    let short: String = source.chars().take(200).collect();
                    panic!("{why}\nsource: {short}");
                }
            }
        }
        println!("{census:#?}");
    });
}
