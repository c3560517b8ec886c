//! A checked expression, as the evaluator takes it. Pure data.

use super::{function::Function, value::CelValue};

/// A part of an expression. Every node can be evaluated.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A literal, or one of the maps.
    Constant(CelValue),
    /// The variable with this index in the scope: 0 is the expression's own, the others belong to the loops from the
    /// outermost in.
    Variable(usize),
    /// `container[key]`
    Entry(Box<[Node; 2]>),
    /// `key in container`
    In(Box<[Node; 2]>),
    /// `!x`
    Not(Box<Node>),
    /// `x && y`
    And(Box<[Node; 2]>),
    /// `x || y`
    Or(Box<[Node; 2]>),
    /// `condition ? x : y`
    If(Box<[Node; 3]>),
    /// `-x`
    Negate(Box<Node>),
    /// An operation on two numbers; `+` also joins two texts.
    Arithmetic(Arithmetic, Box<[Node; 2]>),
    /// A comparison.
    Compare(Comparison, Box<[Node; 2]>),
    /// `[x, y]`
    List(Vec<Node>),
    /// A function call. The first argument of a method is its receiver.
    Call(Function, Vec<Node>),
    /// A macro that loops.
    Loop(Box<Loop>),
}

/// Operations on two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// Comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A loop over the elements of a list or the keys of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Loop {
    /// The result that the loop computes.
    pub form: Form,
    /// The list or map.
    pub range: Node,
    /// The elements to use. `None` uses all of them.
    pub filter: Option<Node>,
    /// The expression that is evaluated for each element.
    pub body: Node,
}

/// The result of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Whether the body is true for all elements.
    All,
    /// Whether the body is true for at least one element.
    Exists,
    /// Whether the body is true for exactly one element.
    ExistsOne,
    /// The list of the body's results: `map` and `filter`.
    Collect,
}
