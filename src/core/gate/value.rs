//! Values and types of expressions. Pure.

use std::{fmt, sync::Arc};

/// A value. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub enum CelValue {
    /// True or false.
    Bool(bool),
    /// A finite number. There is only one kind of number, so that `metrics.n > 5` and `metrics.r2 * 2` work.
    Number(f64),
    /// Text.
    Text(Arc<str>),
    /// A list.
    List(Arc<[CelValue]>),
    /// One of the maps that a rule reads.
    Table(Table),
}

/// The maps that a rule reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Metrics of the candidate.
    Metrics,
    /// Metrics of the accepted version.
    Accepted,
    /// Metrics of the served version.
    Served,
    /// Parameters of the candidate's run.
    Parameters,
    /// Inputs of the training.
    Inputs,
}

impl Table {
    /// All maps.
    pub const ALL: [Self; 5] = [Self::Metrics, Self::Accepted, Self::Served, Self::Parameters, Self::Inputs];

    /// The map's name in expressions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Accepted => "accepted",
            Self::Served => "served",
            Self::Parameters => "parameters",
            Self::Inputs => "inputs",
        }
    }

    /// The type of the map's entries.
    pub const fn entries(self) -> Type {
        match self {
            Self::Metrics | Self::Accepted | Self::Served => Type::Number,
            Self::Parameters | Self::Inputs => Type::Text,
        }
    }
}

/// The type of a value, as far as it is known before the evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Unknown: any of the others.
    Any,
    /// True or false.
    Bool,
    /// A number.
    Number,
    /// Text.
    Text,
    /// A list with elements of this type.
    List(Box<Type>),
    /// A map.
    Table(Table),
}

impl Type {
    /// Whether a value of this type may have the other type.
    pub fn may_be(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::List(one), Self::List(two)) => one.may_be(two),
            (one, two) => one == two,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "a value",
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "text",
            Self::List(_) => "a list",
            Self::Table(_) => "a map",
        })
    }
}

impl CelValue {
    /// Text.
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// The value's type, for messages.
    pub fn kind(&self) -> Type {
        match self {
            Self::Bool(_) => Type::Bool,
            Self::Number(_) => Type::Number,
            Self::Text(_) => Type::Text,
            Self::List(_) => Type::List(Box::new(Type::Any)),
            Self::Table(table) => Type::Table(*table),
        }
    }

    /// The steps that it costs to read the value: one, and one more for each element of a list or 16 bytes of text.
    pub fn weight(&self) -> usize {
        match self {
            Self::Bool(_) | Self::Number(_) | Self::Table(_) => 1,
            Self::Text(text) => 1 + text.len() / 16,
            Self::List(list) => list.iter().map(Self::weight).sum::<usize>() + 1,
        }
    }
}

/// Formats a number for messages: `5`, `0.71`, `1e-9`.
pub fn shown(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 { format!("{number:.0}") } else { format!("{number:?}") }
}

/// The expression that reads an entry of a map: `metrics.r2`, `metrics["val-acc"]`.
pub fn entry(table: Table, key: &str) -> String {
    let (table, key) = (table.name(), short(key));
    if is_plain(key) { format!("{table}.{key}") } else { format!("{table}[{key:?}]") }
}

/// The expression that tests whether an entry is present: `has(metrics.r2)`, `("val-acc" in metrics)`.
pub fn presence(table: Table, key: &str) -> String {
    let (table, key) = (table.name(), short(key));
    if is_plain(key) { format!("has({table}.{key})") } else { format!("({key:?} in {table})") }
}

fn short(key: &str) -> &str {
    &key[..key.floor_char_boundary(64)]
}

fn is_plain(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
