//! The functions that expressions may call. The arguments bound the time and the result of each. Pure.
//!
//! There are no regular expressions, because compiling one may take megabytes, and no `replace`, `join` or
//! `lists.range`, because small arguments could make a large value.

use std::sync::Arc;

use super::value::{CelValue, Type, shown};

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    LowerAscii,
    UpperAscii,
    Trim,
    Split,
    Double,
    Int,
    Text,
    Abs,
    Ceil,
    Floor,
    Round,
    Trunc,
    Sign,
    Sqrt,
    Greatest,
    Least,
    Min,
    Max,
    Sum,
}

/// The type of a parameter.
#[derive(Clone, Copy, Debug)]
enum Takes {
    Text,
    Number,
    /// Text or a number.
    Scalar,
    /// A list of numbers.
    Numbers,
    /// Text, a list or a map.
    Sized,
}

/// The notation of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `math.abs(x)`, `double(x)`.
    Plain,
    /// `x.startsWith("a")`.
    Method,
}

struct Row {
    function: Function,
    style: Style,
    /// The name in a call, with the prefix `math.`.
    name: &'static str,
    takes: &'static [Takes],
    gives: Type,
}

const fn row(function: Function, style: Style, name: &'static str, takes: &'static [Takes], gives: Type) -> Row {
    Row { function, style, name, takes, gives }
}

const FUNCTIONS: &[Row] = &[
    row(Function::Size, Style::Plain, "size", &[Takes::Sized], Type::Number),
    row(Function::Size, Style::Method, "size", &[Takes::Sized], Type::Number),
    row(Function::Contains, Style::Method, "contains", &[Takes::Text, Takes::Text], Type::Bool),
    row(Function::StartsWith, Style::Method, "startsWith", &[Takes::Text, Takes::Text], Type::Bool),
    row(Function::EndsWith, Style::Method, "endsWith", &[Takes::Text, Takes::Text], Type::Bool),
    row(Function::LowerAscii, Style::Method, "lowerAscii", &[Takes::Text], Type::Text),
    row(Function::UpperAscii, Style::Method, "upperAscii", &[Takes::Text], Type::Text),
    row(Function::Trim, Style::Method, "trim", &[Takes::Text], Type::Text),
    row(Function::Split, Style::Method, "split", &[Takes::Text, Takes::Text], Type::Any),
    row(Function::Double, Style::Plain, "double", &[Takes::Scalar], Type::Number),
    row(Function::Int, Style::Plain, "int", &[Takes::Scalar], Type::Number),
    row(Function::Text, Style::Plain, "string", &[Takes::Scalar], Type::Text),
    row(Function::Abs, Style::Plain, "math.abs", &[Takes::Number], Type::Number),
    row(Function::Ceil, Style::Plain, "math.ceil", &[Takes::Number], Type::Number),
    row(Function::Floor, Style::Plain, "math.floor", &[Takes::Number], Type::Number),
    row(Function::Round, Style::Plain, "math.round", &[Takes::Number], Type::Number),
    row(Function::Trunc, Style::Plain, "math.trunc", &[Takes::Number], Type::Number),
    row(Function::Sign, Style::Plain, "math.sign", &[Takes::Number], Type::Number),
    row(Function::Sqrt, Style::Plain, "math.sqrt", &[Takes::Number], Type::Number),
    row(Function::Greatest, Style::Plain, "math.greatest", &[Takes::Number], Type::Number),
    row(Function::Least, Style::Plain, "math.least", &[Takes::Number], Type::Number),
    row(Function::Min, Style::Method, "min", &[Takes::Numbers], Type::Number),
    row(Function::Max, Style::Method, "max", &[Takes::Numbers], Type::Number),
    row(Function::Sum, Style::Method, "sum", &[Takes::Numbers], Type::Number),
];

impl Takes {
    fn accepts(self, given: &Type) -> bool {
        match self {
            Self::Text => given.may_be(&Type::Text),
            Self::Number => given.may_be(&Type::Number),
            Self::Scalar => given.may_be(&Type::Text) || given.may_be(&Type::Number),
            Self::Numbers => given.may_be(&Type::List(Box::new(Type::Number))),
            Self::Sized => matches!(given, Type::Any | Type::Text | Type::List(_) | Type::Table(_)),
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "a number",
            Self::Scalar => "text or a number",
            Self::Numbers => "a list of numbers",
            Self::Sized => "text, a list or a map",
        }
    }
}

/// Finds the function of this name and its result's type. The error says why it cannot be called with these arguments.
///
/// The first argument of a method is its receiver.
pub fn find(style: Style, name: &str, given: &[Type]) -> Result<(Function, Type), String> {
    let Some(row) = FUNCTIONS.iter().find(|row| row.style == style && row.name == name) else {
        return Err(unknown(style, name));
    };
    let any_number = matches!(row.function, Function::Greatest | Function::Least);
    let fits = if any_number { !given.is_empty() } else { given.len() == row.takes.len() };
    if !fits {
        let wanted = if any_number { "one value or more".to_owned() } else { format!("{} value(s)", row.takes.len()) };
        return Err(format!("{name} takes {wanted}, and has {}", given.len()));
    }
    let mut places = row.takes.iter().copied().chain(row.takes.last().copied().into_iter().cycle());
    match given.iter().zip(&mut places).find(|(given, takes)| !takes.accepts(given)) {
        Some((Type::Text, takes)) => {
            Err(format!("{name} takes {}, not text: double(…) makes a number of text", takes.words()))
        }
        Some((given, takes)) => Err(format!("{name} takes {}, not {given}", takes.words())),
        None => Ok((row.function, row.gives.clone())),
    }
}

fn unknown(style: Style, name: &str) -> String {
    if let Some(row) = FUNCTIONS.iter().find(|row| row.name == name || row.name.strip_prefix("math.") == Some(name)) {
        let usage =
            if row.style == Style::Method { format!("x.{}(…)", row.name) } else { format!("{}(…)", row.name) };
        return format!("{name} is called as {usage}");
    }
    match name {
        "matches" => "regular expressions are not available: use startsWith, endsWith, contains".to_owned(),
        "all" | "exists" | "exists_one" | "map" | "filter" if style == Style::Method => {
            format!("{name} takes a name and an expression: metrics.{name}(k, metrics[k] > 0.5)")
        }
        "has" => "has takes one entry: has(metrics.r2)".to_owned(),
        _ => {
            let mut names: Vec<&str> = FUNCTIONS.iter().map(|row| row.name).collect();
            names.dedup();
            format!(
                "there is no function {name}: there are has, all, exists, exists_one, map, filter, {}",
                names.join(", ")
            )
        }
    }
}

/// Calls a function. The error says why there is no result.
///
/// A result may be infinite or NaN; the caller checks.
pub fn call(function: Function, given: &[CelValue]) -> Result<CelValue, String> {
    use CelValue::{List, Number, Table, Text};
    Ok(match (function, given) {
        (Function::Size, [Text(text)]) => count(text.chars().count()),
        (Function::Size, [List(list)]) => count(list.len()),
        (Function::Contains, [Text(text), Text(part)]) => CelValue::Bool(text.contains(&**part)),
        (Function::StartsWith, [Text(text), Text(part)]) => CelValue::Bool(text.starts_with(&**part)),
        (Function::EndsWith, [Text(text), Text(part)]) => CelValue::Bool(text.ends_with(&**part)),
        (Function::LowerAscii, [Text(text)]) => CelValue::text(&text.to_ascii_lowercase()),
        (Function::UpperAscii, [Text(text)]) => CelValue::text(&text.to_ascii_uppercase()),
        (Function::Trim, [Text(text)]) => CelValue::text(text.trim()),
        (Function::Split, [Text(text), Text(separator)]) => {
            List(text.split(&**separator).map(CelValue::text).collect::<Arc<[_]>>())
        }
        (Function::Double, [Text(text)]) => {
            Number(text.trim().parse().map_err(|_| "double(…) of a text that is no number".to_owned())?)
        }
        (Function::Int, [Text(text)]) => {
            let number: f64 = text.trim().parse().map_err(|_| "int(…) of a text that is no number".to_owned())?;
            Number(number.trunc())
        }
        (Function::Double, [Number(number)]) => Number(*number),
        (Function::Int | Function::Trunc, [Number(number)]) => Number(number.trunc()),
        (Function::Text, [Text(text)]) => Text(text.clone()),
        (Function::Text, [Number(number)]) => CelValue::text(&shown(*number)),
        (Function::Abs, [Number(number)]) => Number(number.abs()),
        (Function::Ceil, [Number(number)]) => Number(number.ceil()),
        (Function::Floor, [Number(number)]) => Number(number.floor()),
        (Function::Round, [Number(number)]) => Number(number.round()),
        (Function::Sign, [Number(number)]) => Number(if *number == 0.0 { 0.0 } else { number.signum() }),
        (Function::Sqrt, [Number(number)]) => Number(number.sqrt()),
        (Function::Greatest, numbers) => extreme(numbers, f64::max)?,
        (Function::Least, numbers) => extreme(numbers, f64::min)?,
        (Function::Max, [List(list)]) => extreme(list, f64::max)?,
        (Function::Min, [List(list)]) => extreme(list, f64::min)?,
        (Function::Sum, [List(list)]) => Number(numbers(list)?.into_iter().sum()),
        (_, [Table(_), ..]) => return Err("a function cannot take a map".to_owned()),
        (_, given) => {
            let kinds: Vec<String> = given.iter().map(|value| value.kind().to_string()).collect();
            return Err(format!("a function cannot take {}", kinds.join(" and ")));
        }
    })
}

/// The size of a text, list or map as a value.
#[allow(clippy::cast_precision_loss, reason = "lists and texts are bounded far below 2^53")]
pub fn count(things: usize) -> CelValue {
    CelValue::Number(things as f64)
}

fn numbers(list: &[CelValue]) -> Result<Vec<f64>, String> {
    list.iter()
        .map(|value| match value {
            CelValue::Number(number) => Ok(*number),
            other => Err(format!("a list of numbers holds {}", other.kind())),
        })
        .collect()
}

fn extreme(list: &[CelValue], choose: impl Fn(f64, f64) -> f64) -> Result<CelValue, String> {
    numbers(list)?
        .into_iter()
        .reduce(choose)
        .map(CelValue::Number)
        .ok_or_else(|| "an empty list has no least or greatest".into())
}
