//! What a description says in CEL, such as `response.team.id`.
//!
//! Takes a source and later the variables, gives JSON. Bounded in source, nesting, steps, input and result, since
//! tenants write expressions: they see the variables handed in and nothing else, and reach no clock, no network and no
//! token ([`without_tokens`], [`contains_secret`]).

mod bounds;
mod secrets;

use std::{
    collections::HashMap,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use cel::{Context, ExecutionError, ParseErrors, Program};
use serde_json::Value;
use thiserror::Error;

use bounds::Cost;
pub use secrets::{contains_secret, cut_out, without_tokens};

/// The longest source, in bytes.
pub const LONGEST_SOURCE: usize = 1024;

/// The deepest nesting of an expression: of brackets, and of operators that wait for one another, as in `1 + 2 + 3`
/// (two).
pub const DEEPEST_SOURCE: usize = 16;

/// Operators, calls, selections and literals of one expression.
pub const MOST_OPERATORS: usize = 64;

/// The largest input, all variables together, in bytes as JSON: 1 MiB.
pub const LARGEST_INPUT: usize = 1024 * 1024;

/// The deepest nesting of the input.
pub const DEEPEST_INPUT: usize = 64;

/// The most work of one evaluation, in bytes touched: operators × input, and × the largest list or map where the
/// expression has a macro; or 64 for each value of the input, if that is more. 16 Mi.
pub const MOST_WORK: usize = 16 * 1024 * 1024;

/// The largest result, in bytes as JSON: 4 KiB.
pub const LARGEST_RESULT: usize = 4096;

/// Stack of the thread that parses. The parser takes up to 130 KiB for each level of brackets (unoptimized), and 32 KiB
/// for each term of a sum; pages that are not touched cost nothing.
const PARSER_STACK: usize = 32 * 1024 * 1024;

/// The longest message of the parser that is passed on, in characters; it may list every token there is.
const LONGEST_MESSAGE: usize = 160;

/// What an expression can speak of.
const VARIABLES: [&str; 9] =
    ["response", "status", "identity", "lookup", "request", "integration", "parameters", "input", "metadata"];

/// Why a source is not an expression.
#[derive(Debug, Error)]
pub enum ExpressionError {
    /// Longer than [`LONGEST_SOURCE`].
    #[error("the expression is longer than {LONGEST_SOURCE} bytes")]
    TooLong,
    /// Nested deeper than [`DEEPEST_SOURCE`].
    #[error("the expression is nested deeper than {DEEPEST_SOURCE} levels at byte {position}")]
    TooDeep {
        /// Where, in bytes from the start.
        position: usize,
    },
    /// More than [`MOST_OPERATORS`].
    #[error("the expression has more than {MOST_OPERATORS} operators")]
    TooComplex,
    /// More than one macro, or one over something else than a variable or a field of one.
    #[error(
        "an expression has at most one of all, exists, exists_one, filter and map, and that over a variable or a field of one"
    )]
    Macro,
    /// Not CEL.
    #[error("the expression is wrong at line {line}, column {column}: {message}")]
    Parse {
        /// From 1; 0 where the parser does not know.
        line: usize,
        /// From 1; 0 where the parser does not know.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// A name that is none of the variables.
    #[error("the expression speaks of `{name}`; there are {}", VARIABLES.join(", "))]
    UnknownVariable {
        /// The name.
        name: String,
    },
    /// There is no thread to parse in.
    #[error("cannot start a thread to parse the expression")]
    StartParser(#[source] io::Error),
    /// The parser panicked.
    #[error("the expression broke its parser")]
    Panicked,
}

/// Why an expression has no result.
#[derive(Debug, Error)]
pub enum EvaluateError {
    /// More than [`LARGEST_INPUT`].
    #[error("the variables are larger than 1 MiB")]
    InputTooLarge,
    /// Deeper than [`DEEPEST_INPUT`].
    #[error("the variables are nested deeper than {DEEPEST_INPUT} levels")]
    InputTooDeep,
    /// More than [`MOST_WORK`].
    #[error("the expression would take too many steps on these variables")]
    TooMuchWork,
    /// A mistake of the expression, such as adding a number to a string.
    #[error("the expression cannot be evaluated: {kind}")]
    Execute {
        /// What kind of mistake; values are not repeated.
        kind: &'static str,
    },
    /// The result is no JSON, such as a function or a type.
    #[error("the result of the expression is not a JSON value")]
    NotJson,
    /// More than [`LARGEST_RESULT`], or than its place allows.
    #[error("the result of the expression is too large")]
    ResultTooLarge,
    /// The evaluator panicked.
    #[error("the expression broke its evaluator")]
    Panicked,
}

/// What an expression sees; `null` where something does not apply.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variables {
    /// The answer, [without its tokens](without_tokens).
    pub response: Value,
    /// Its HTTP status.
    pub status: Value,
    /// The identity answer.
    pub identity: Value,
    /// The answers of look-ups, by their names.
    pub lookup: Value,
    /// What is known of the request that connected: `query`, the callback's parameters. For webhooks, the request of the
    /// app: `headers`, `query` and `body`.
    pub request: Value,
    /// The integration's own names.
    pub integration: Value,
    /// The parameters of the form.
    pub parameters: Value,
    /// What the caller of an action gave.
    pub input: Value,
    /// The metadata of the connection, while an action is carried out.
    pub metadata: Value,
}

impl Variables {
    /// Each with its name in expressions.
    fn named(&self) -> [(&'static str, &Value); VARIABLES.len()] {
        let [response, status, identity, lookup, request, integration, parameters, input, metadata] = VARIABLES;
        [
            (response, &self.response),
            (status, &self.status),
            (identity, &self.identity),
            (lookup, &self.lookup),
            (request, &self.request),
            (integration, &self.integration),
            (parameters, &self.parameters),
            (input, &self.input),
            (metadata, &self.metadata),
        ]
    }
}

/// A compiled expression.
pub struct Expression {
    program: Program,
    cost: Cost,
    /// The variables it speaks of.
    speaks_of: Vec<&'static str>,
}

impl fmt::Debug for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Expression").field("cost", &self.cost).finish_non_exhaustive()
    }
}

impl Expression {
    /// Compiles a source within all bounds; says where it is wrong. Takes about a millisecond and a thread of its own:
    /// keep the result.
    pub fn compile(source: &str) -> Result<Self, ExpressionError> {
        bounds::check_source(source)?;
        let program = parse(source.to_owned())?;
        let cost = bounds::check_program(&program)?;
        if let Some(name) = unknown_variable(&program) {
            return Err(ExpressionError::UnknownVariable { name });
        }
        let used = bounds::free_variables(program.expression());
        let speaks_of = VARIABLES.into_iter().filter(|name| used.contains(name)).collect();
        Ok(Self { program, cost, speaks_of })
    }

    /// Whether it speaks of a variable, such as `identity`.
    pub fn speaks_of(&self, variable: &str) -> bool {
        self.speaks_of.contains(&variable)
    }

    /// Whether it speaks of no others than these.
    pub fn speaks_only_of(&self, variables: &[&str]) -> bool {
        self.speaks_of.iter().all(|name| variables.contains(name))
    }

    /// The result over these variables; `null` where a key is missing on the way.
    pub fn evaluate(&self, variables: &Variables) -> Result<Value, EvaluateError> {
        self.evaluate_within(variables, LARGEST_RESULT)
    }

    /// The same with a result of at most so many bytes as JSON, for one that is not kept.
    pub fn evaluate_within(&self, variables: &Variables, largest: usize) -> Result<Value, EvaluateError> {
        bounds::check_input(variables.named().map(|(_, value)| value), self.cost)?;
        let result =
            catch_unwind(AssertUnwindSafe(|| self.execute(variables))).map_err(|_| EvaluateError::Panicked)??;
        if bounds::json_bytes(&result) > largest {
            return Err(EvaluateError::ResultTooLarge);
        }
        Ok(result)
    }

    fn execute(&self, variables: &Variables) -> Result<Value, EvaluateError> {
        let mut context = Context::default();
        for (name, value) in variables.named() {
            context.add_variable_from_value(name, to_cel(value));
        }
        context.add_function("toJson", to_json).ok();
        match self.program.execute(&context) {
            Ok(result) => result.json().map_err(|_| EvaluateError::NotJson),
            Err(error) if is_absence(&error) => Ok(Value::Null),
            Err(error) => Err(EvaluateError::Execute { kind: kind(&error) }),
        }
    }
}

/// `toJson(value)`: JSON as text, for apps that want it inside of a string; fields in alphabetical order, so that the same
/// value is the same text.
#[expect(clippy::needless_pass_by_value, reason = "CEL hands values over")]
fn to_json(value: cel::Value) -> Result<cel::Value, ExecutionError> {
    let unfit = |_| ExecutionError::function_error("toJson", "not a JSON value");
    let mut json = value.json().map_err(unfit)?;
    json.sort_all_objects();
    Ok(json.to_string().into())
}

/// Parses in a thread with a stack that no source within the bounds can exhaust.
fn parse(source: String) -> Result<Program, ExpressionError> {
    thread::Builder::new()
        .name("expression".to_owned())
        .stack_size(PARSER_STACK)
        .spawn(move || Program::compile(&source).map_err(|errors| parse_error(&errors)))
        .map_err(ExpressionError::StartParser)?
        .join()
        .map_err(|_| ExpressionError::Panicked)?
}

/// JSON as CEL has it. Whole numbers are `int` where they fit: CEL does not add an `int`, such as the literal `1`, to
/// an `uint`.
fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(truth) => cel::Value::Bool(*truth),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => cel::Value::Int(whole),
            (None, Some(whole)) => cel::Value::UInt(whole),
            (None, None) => cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(elements) => elements.iter().map(to_cel).collect::<Vec<_>>().into(),
        Value::Object(entries) => {
            entries.iter().map(|(key, value)| (key.as_str(), to_cel(value))).collect::<HashMap<_, _>>().into()
        }
    }
}

/// Whether something was not there: a key, an element of a list, or a field of `null`.
fn is_absence(error: &ExecutionError) -> bool {
    match error {
        ExecutionError::NoSuchKey(_) | ExecutionError::IndexOutOfBounds(_) => true,
        ExecutionError::NoSuchOverload(overload) => {
            matches!(overload.function(), "_._" | "_[_]")
                && overload.argument_types().first().is_some_and(|of| of == "null_type")
        }
        _ => false,
    }
}

/// The kind of a mistake, without the values, which may be private.
fn kind(error: &ExecutionError) -> &'static str {
    match error {
        ExecutionError::NoSuchOverload(_) | ExecutionError::UnsupportedBinaryOperator(..) => {
            "an operator or function does not take these types"
        }
        ExecutionError::UndeclaredReference(_) => "it calls a function that does not exist",
        ExecutionError::InvalidArgumentCount { .. } | ExecutionError::MissingArgumentOrTarget => {
            "a function has the wrong number of arguments"
        }
        ExecutionError::UnexpectedType { .. } | ExecutionError::UnsupportedTargetType { .. } => {
            "a value has the wrong type"
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "it divides by zero",
        ExecutionError::Overflow(..) => "a number is too large",
        ExecutionError::ValuesNotComparable(..) => "two values cannot be compared",
        _ => "it is not valid for these values",
    }
}

/// A name that is neither a variable nor bound by a macro.
fn unknown_variable(program: &Program) -> Option<String> {
    bounds::free_variables(program.expression()).into_iter().find(|name| !VARIABLES.contains(name)).map(str::to_owned)
}

/// The first of the parser's errors.
fn parse_error(errors: &ParseErrors) -> ExpressionError {
    let first = errors.errors.first();
    let number = |part: fn((isize, isize)) -> isize| {
        first.and_then(|error| usize::try_from(part(error.pos)).ok()).unwrap_or_default()
    };
    ExpressionError::Parse {
        line: number(|(line, _)| line),
        column: number(|(_, column)| column),
        message: first.map_or_else(String::new, |error| error.msg.chars().take(LONGEST_MESSAGE).collect()),
    }
}

#[cfg(test)]
mod tests;
