//! From the text of an expression to what is evaluated: parsed by the library, then checked for names, types and nesting.
//! Pure.

use kube_cel::cel::{
    common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators},
    parser::{ParseErrors, Parser},
};

use super::{
    function::{self, Function, Style},
    scan::{Place, Problem, Token, scan},
    value::{Table, Type, Value},
};

/// Deepest nesting of an expression's parts.
pub const MAX_DEPTH: usize = 64;
/// Deepest nesting of `all`, `exists`, `exists_one`, `map` and `filter` inside one another.
pub const MAX_LOOPS: usize = 2;

/// The largest whole number up to which a double has every one.
const MAX_WHOLE: u64 = 1 << 53;
/// The macros that go through something.
const LOOPS: [&str; 6] = ["all", "exists", "exists_one", "existsOne", "map", "filter"];

/// A part of an expression. Everything that there is can be evaluated.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A literal.
    Constant(Value),
    /// The variable in that place: 0 is the one that the expression is given, then those of the loops from the outside in.
    Variable(usize),
    /// An element of a list, or an entry of a map.
    Entry(Box<[Node; 2]>),
    /// Whether the second has the first.
    In(Box<[Node; 2]>),
    /// The opposite.
    Not(Box<Node>),
    /// Both.
    And(Box<[Node; 2]>),
    /// Either.
    Or(Box<[Node; 2]>),
    /// The second if the first holds, else the third.
    If(Box<[Node; 3]>),
    /// The negative.
    Negate(Box<Node>),
    /// An operation on numbers, or `+` on texts.
    Arithmetic(Arithmetic, Box<[Node; 2]>),
    /// A comparison.
    Compare(Comparison, Box<[Node; 2]>),
    /// A list.
    List(Vec<Node>),
    /// A function.
    Call(Function, Vec<Node>),
    /// A loop.
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
    /// What it makes of them.
    pub form: Form,
    /// What it goes through.
    pub range: Node,
    /// Which elements count, where only some do.
    pub filter: Option<Node>,
    /// What is computed of each.
    pub body: Node,
}

/// What a loop makes of its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Does the body hold for all?
    All,
    /// Does it hold for any?
    Exists,
    /// Does it hold for exactly one?
    ExistsOne,
    /// A list of what the body yields: `map` and `filter`.
    Collect,
}

/// Whose expression it is: what it may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// A rule of a gate: the maps, and `candidate`.
    Gate,
    /// A rule over a live metric: `value`.
    Live,
}

impl Setting {
    /// The longest text, in bytes.
    const fn longest(self) -> usize {
        match self {
            Self::Gate => 1024,
            Self::Live => 256,
        }
    }

    const fn variable(self) -> (&'static str, Type) {
        match self {
            Self::Gate => ("candidate", Type::Text),
            Self::Live => ("value", Type::Number),
        }
    }

    const fn names(self) -> &'static str {
        match self {
            Self::Gate => "metrics, accepted, served, parameters, inputs and candidate",
            Self::Live => "value",
        }
    }
}

/// Compiles an expression that yields true or false.
pub fn compile(setting: Setting, source: &str) -> Result<Node, Problem> {
    if source.len() > setting.longest() {
        return Err(Problem::new(None, format!("has more than {} bytes: make several of it", setting.longest())));
    }
    let tokens = scan(source)?;
    let parsed = Parser::new().parse(source).map_err(|errors| syntax(&errors))?;
    let (name, type_) = setting.variable();
    let mut lowering = Lowering { setting, tokens: &tokens, cursor: 0, scope: vec![(name.to_owned(), type_)] };
    let (node, type_) = lowering.lower(&parsed, 0)?;
    if !type_.may_be(&Type::Bool) {
        let what = format!("it yields {type_}, and a rule yields true or false: compare it with something");
        return Err(Problem::new(None, what));
    }
    Ok(node)
}

/// The first of the parser's errors.
fn syntax(errors: &ParseErrors) -> Problem {
    let Some(error) = errors.errors.first() else { return Problem::new(None, "it is not understood") };
    let place = match (usize::try_from(error.pos.0), usize::try_from(error.pos.1)) {
        (Ok(line), Ok(column)) if line > 0 => Some(Place { line, column }),
        _ => None,
    };
    let what = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg);
    Problem::new(place, what.split(" expecting ").next().unwrap_or(what).replace("<EOF>", "the end"))
}

struct Lowering<'a> {
    setting: Setting,
    tokens: &'a [Token<'a>],
    /// The tokens before this one belong to what has been lowered: the parser keeps no places of what it understood, but the
    /// parts of an expression come in the order of its text.
    cursor: usize,
    /// The variables and what they are, from the outside in.
    scope: Vec<(String, Type)>,
}

type Lowered = Result<(Node, Type), Problem>;

impl Lowering<'_> {
    fn lower(&mut self, expression: &IdedExpr, depth: usize) -> Lowered {
        if depth > MAX_DEPTH {
            return Err(Problem::new(
                None,
                format!("it is nested more than {MAX_DEPTH} deep: make several rules of it"),
            ));
        }
        match &expression.expr {
            Expr::Literal(literal) => {
                self.pass(is_literal);
                literal_of(literal)
            }
            Expr::Ident(name) => {
                let lowered = self.name(name);
                self.pass(|token| token == name);
                lowered
            }
            Expr::Select(select) => self.select(select, depth),
            Expr::Call(call) => self.call(call, depth),
            Expr::List(list) => {
                let (nodes, types) = self.all(list.elements.iter(), depth)?;
                let first = types.first().cloned().unwrap_or(Type::Any);
                let element = if types.iter().all(|type_| *type_ == first) { first } else { Type::Any };
                Ok((Node::List(nodes), Type::List(Box::new(element))))
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, depth),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                Err(Problem::new(None, "a part of it is not understood"))
            }
        }
    }

    fn all<'e>(
        &mut self,
        expressions: impl Iterator<Item = &'e IdedExpr>,
        depth: usize,
    ) -> Result<(Vec<Node>, Vec<Type>), Problem> {
        let lowered = expressions.map(|each| self.lower(each, depth + 1)).collect::<Result<Vec<_>, _>>()?;
        Ok(lowered.into_iter().unzip())
    }

    fn select(&mut self, select: &SelectExpr, depth: usize) -> Lowered {
        let (map, type_) = self.lower(&select.operand, depth + 1)?;
        if !matches!(type_, Type::Table(_) | Type::Any) {
            return self.fail(&select.field, format!("{type_} has no entry {}", select.field));
        }
        self.pass(|token| token == select.field);
        let key = Node::Constant(Value::text(&select.field));
        Ok(if select.test {
            (Node::In(Box::new([key, map])), Type::Bool)
        } else {
            (Node::Entry(Box::new([map, key])), entry_of(&type_))
        })
    }

    fn name(&self, name: &str) -> Lowered {
        if let Some(place) = self.scope.iter().rposition(|(known, _)| known == name) {
            return Ok((Node::Variable(place), self.scope[place].1.clone()));
        }
        let table = Table::ALL.into_iter().find(|table| table.name() == name);
        match table {
            Some(table) if self.setting == Setting::Gate => {
                Ok((Node::Constant(Value::Table(table)), Type::Table(table)))
            }
            _ => {
                let names = self.setting.names();
                self.fail(
                    name,
                    format!(
                        "there is no {name}: a rule reads {names} (a name with a dash is read as metrics[\"val-acc\"])"
                    ),
                )
            }
        }
    }

    fn call(&mut self, call: &CallExpr, depth: usize) -> Lowered {
        let operator = call.target.is_none().then(|| self.operator(call, depth)).transpose()?.flatten();
        if let Some(lowered) = operator {
            return Ok(lowered);
        }
        let in_math = call.target.as_ref().is_some_and(|target| target.expr == Expr::Ident("math".to_owned()));
        let (style, name) = match &call.target {
            Some(_) if in_math => (Style::Plain, format!("math.{}", call.func_name)),
            Some(_) => (Style::Method, call.func_name.clone()),
            None => (Style::Plain, call.func_name.clone()),
        };
        let start = self.cursor;
        let target = call.target.as_deref().filter(|_| !in_math);
        let (nodes, types) = self.all(target.into_iter().chain(&call.args), depth)?;
        match function::find(style, &name, &types) {
            Ok((function, gives)) => Ok((Node::Call(function, nodes), gives)),
            Err(what) => self.fail_after(start, &call.func_name, what),
        }
    }

    /// An operator; `None` if the call is none.
    fn operator(&mut self, call: &CallExpr, depth: usize) -> Result<Option<(Node, Type)>, Problem> {
        let name = call.func_name.as_str();
        Ok(Some(match &call.args[..] {
            [one] => match name {
                operators::LOGICAL_NOT => (Node::Not(Box::new(self.of(one, &Type::Bool, "!", depth)?)), Type::Bool),
                operators::NEGATE => (Node::Negate(Box::new(self.of(one, &Type::Number, "-", depth)?)), Type::Number),
                _ => return Ok(None),
            },
            [one, two] => match name {
                operators::LOGICAL_AND | operators::LOGICAL_OR => {
                    let sign = if name == operators::LOGICAL_AND { "&&" } else { "||" };
                    let sides =
                        Box::new([self.of(one, &Type::Bool, sign, depth)?, self.of(two, &Type::Bool, sign, depth)?]);
                    (if sign == "&&" { Node::And(sides) } else { Node::Or(sides) }, Type::Bool)
                }
                operators::INDEX => self.index(one, two, depth)?,
                operators::IN => self.membership(one, two, depth)?,
                _ => match (comparison(name), arithmetic(name)) {
                    (Some((comparison, sign)), _) => self.compare(comparison, sign, [one, two], depth)?,
                    (_, Some((operation, sign))) => self.arithmetic(operation, sign, [one, two], depth)?,
                    _ => return Ok(None),
                },
            },
            [condition, one, two] if name == operators::CONDITIONAL => {
                let condition = self.of(condition, &Type::Bool, "?", depth)?;
                let ([(one, one_type), (two, two_type)], _) = self.sides(one, two, depth)?;
                let type_ = if one_type == two_type { one_type } else { Type::Any };
                (Node::If(Box::new([condition, one, two])), type_)
            }
            _ => return Ok(None),
        }))
    }

    /// An operand of that type.
    fn of(&mut self, operand: &IdedExpr, wanted: &Type, sign: &str, depth: usize) -> Result<Node, Problem> {
        let start = self.cursor;
        let (node, type_) = self.lower(operand, depth + 1)?;
        if type_.may_be(wanted) {
            return Ok(node);
        }
        self.fail_after(start, sign, format!("{sign} takes {wanted}, not {type_}"))
    }

    /// Both sides of an operator, and where the second one begins.
    fn sides(&mut self, one: &IdedExpr, two: &IdedExpr, depth: usize) -> Result<([(Node, Type); 2], usize), Problem> {
        let one = self.lower(one, depth + 1)?;
        let between = self.cursor;
        Ok(([one, self.lower(two, depth + 1)?], between))
    }

    fn index(&mut self, container: &IdedExpr, key: &IdedExpr, depth: usize) -> Lowered {
        let ([(container, type_), (key, key_type)], between) = self.sides(container, key, depth)?;
        let (wanted, entry) = match &type_ {
            Type::Table(table) => (Type::Text, table.entries()),
            Type::List(element) => (Type::Number, (**element).clone()),
            Type::Any => (Type::Any, Type::Any),
            other => return self.fail_after(between, "[", format!("{other} has no entries")),
        };
        if !key_type.may_be(&wanted) {
            return self.fail_after(
                between,
                "[",
                format!("an entry of {type_} is named by {wanted}, not by {key_type}"),
            );
        }
        Ok((Node::Entry(Box::new([container, key])), entry))
    }

    fn membership(&mut self, one: &IdedExpr, container: &IdedExpr, depth: usize) -> Lowered {
        let ([(one, one_type), (container, type_)], between) = self.sides(one, container, depth)?;
        let fits = match &type_ {
            Type::Table(_) => one_type.may_be(&Type::Text),
            Type::List(element) => one_type.may_be(element),
            Type::Any => true,
            _ => false,
        };
        if !fits {
            let what = format!("{one_type} is never in {type_}: write \"name\" in metrics, or x in [a, b]");
            return self.fail_after(between, "in", what);
        }
        Ok((Node::In(Box::new([one, container])), Type::Bool))
    }

    fn compare(&mut self, comparison: Comparison, sign: &str, sides: [&IdedExpr; 2], depth: usize) -> Lowered {
        let ([(one, one_type), (two, two_type)], between) = self.sides(sides[0], sides[1], depth)?;
        let ordered = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        let orderless = |type_: &Type| matches!(type_, Type::Bool | Type::List(_));
        if let Type::Table(table) = &one_type {
            return self.fail_after(between, sign, format!("{} is a map: compare one of its entries", table.name()));
        }
        if ordered && (orderless(&one_type) || orderless(&two_type)) || !one_type.may_be(&two_type) {
            let remedy =
                if [&one_type, &two_type].contains(&&Type::Text) { ": double(…) makes a number of text" } else { "" };
            return self.fail_after(between, sign, format!("{sign} cannot compare {one_type} with {two_type}{remedy}"));
        }
        Ok((Node::Compare(comparison, Box::new([one, two])), Type::Bool))
    }

    fn arithmetic(&mut self, operation: Arithmetic, sign: &str, sides: [&IdedExpr; 2], depth: usize) -> Lowered {
        let ([(one, one_type), (two, two_type)], between) = self.sides(sides[0], sides[1], depth)?;
        let texts = operation == Arithmetic::Add && one_type.may_be(&Type::Text) && two_type.may_be(&Type::Text);
        let numbers = one_type.may_be(&Type::Number) && two_type.may_be(&Type::Number);
        let type_ = match (numbers, texts) {
            (true, true) => Type::Any,
            (true, false) => Type::Number,
            (false, true) => Type::Text,
            (false, false) => {
                let remedy = if one_type == Type::Text || two_type == Type::Text {
                    ": double(…) makes a number of text, string(…) text of a number"
                } else {
                    ""
                };
                return self.fail_after(between, sign, format!("{sign} cannot take {one_type} and {two_type}{remedy}"));
            }
        };
        Ok((Node::Arithmetic(operation, Box::new([one, two])), type_))
    }

    fn comprehension(&mut self, loop_: &ComprehensionExpr, depth: usize) -> Lowered {
        let (range, type_) = self.lower(&loop_.iter_range, depth + 1)?;
        let element = match type_ {
            Type::List(element) => *element,
            Type::Table(_) => Type::Text,
            Type::Any => Type::Any,
            other => return Err(Problem::new(None, format!("{other} cannot be gone through: take a map or a list"))),
        };
        let name = loop_.iter_var.as_str();
        if name == "math" || Table::ALL.iter().any(|table| table.name() == name) {
            return self.fail(name, format!("a variable cannot be called {name}: choose another name"));
        }
        if self.scope.len() > MAX_LOOPS {
            return self.fail(name, format!("loops are nested more than {MAX_LOOPS} deep: make several rules of it"));
        }
        let Some((form, filter, body)) = macro_of(loop_) else {
            return Err(Problem::new(None, "a part of it is not understood"));
        };
        let word = self.tokens[self.cursor..]
            .iter()
            .map(|token| token.text)
            .find(|text| LOOPS.contains(text))
            .unwrap_or("map");
        let start = self.cursor;
        self.pass(|token| token == name);
        self.scope.push((name.to_owned(), element));
        let filter = filter.map(|filter| self.condition(filter, word, start, depth)).transpose()?;
        let end_of_filter = self.cursor;
        let (body, body_type) = match form {
            Form::Collect => self.lower(body, depth + 1)?,
            Form::All | Form::Exists | Form::ExistsOne => (self.condition(body, word, start, depth)?, Type::Bool),
        };
        self.scope.pop();
        // `filter` is written out as a list of the variable, which does not stand in the text a second time.
        if word == "filter" {
            self.cursor = end_of_filter;
        }
        let type_ = if form == Form::Collect { Type::List(Box::new(body_type)) } else { Type::Bool };
        Ok((Node::Loop(Box::new(Loop { form, range, filter, body })), type_))
    }

    /// What a loop asks of each element.
    fn condition(&mut self, condition: &IdedExpr, word: &str, start: usize, depth: usize) -> Result<Node, Problem> {
        let (node, type_) = self.lower(condition, depth + 1)?;
        if type_.may_be(&Type::Bool) {
            return Ok(node);
        }
        self.fail_after(start, word, format!("{word} takes an expression that is true or false, not {type_}"))
    }

    /// Steps over the next such token.
    fn pass(&mut self, wanted: impl Fn(&str) -> bool) {
        if let Some(further) = self.tokens[self.cursor..].iter().position(|token| wanted(token.text)) {
            self.cursor += further + 1;
        }
    }

    /// Fails where `word` stands next.
    fn fail<T>(&self, word: &str, what: String) -> Result<T, Problem> {
        self.fail_after(self.cursor, word, what)
    }

    fn fail_after<T>(&self, start: usize, word: &str, what: String) -> Result<T, Problem> {
        let token = self.tokens[start..].iter().find(|token| token.text == word);
        Err(Problem::new(token.map(|token| token.place), what))
    }
}

fn is_literal(token: &str) -> bool {
    matches!(token, "true" | "false")
        || token.starts_with(|c: char| c.is_ascii_digit() || c == '\'' || c == '"')
        || (token.len() > 1 && token.starts_with('.'))
}

fn literal_of(literal: &LiteralValue) -> Lowered {
    match literal {
        LiteralValue::Boolean(holds) => Ok((Node::Constant(Value::Bool(*holds.inner())), Type::Bool)),
        LiteralValue::Double(number) => Ok((Node::Constant(Value::Number(*number.inner())), Type::Number)),
        LiteralValue::Int(number) if number.inner().unsigned_abs() <= MAX_WHOLE => {
            #[allow(clippy::cast_precision_loss, reason = "whole numbers up to 2^53 are exact")]
            let number = *number.inner() as f64;
            Ok((Node::Constant(Value::Number(number)), Type::Number))
        }
        LiteralValue::Int(number) => {
            Err(Problem::new(None, format!("{} cannot be told from its neighbours: write it as 1e18", number.inner())))
        }
        LiteralValue::String(text) => Ok((Node::Constant(Value::text(text.inner())), Type::Text)),
        LiteralValue::Null | LiteralValue::Bytes(_) | LiteralValue::UInt(_) => {
            Err(Problem::new(None, "a part of it is not understood"))
        }
    }
}

fn entry_of(type_: &Type) -> Type {
    if let Type::Table(table) = type_ { table.entries() } else { Type::Any }
}

fn comparison(name: &str) -> Option<(Comparison, &'static str)> {
    Some(match name {
        operators::EQUALS => (Comparison::Equal, "=="),
        operators::NOT_EQUALS => (Comparison::NotEqual, "!="),
        operators::LESS => (Comparison::Less, "<"),
        operators::LESS_EQUALS => (Comparison::LessOrEqual, "<="),
        operators::GREATER => (Comparison::Greater, ">"),
        operators::GREATER_EQUALS => (Comparison::GreaterOrEqual, ">="),
        _ => return None,
    })
}

fn arithmetic(name: &str) -> Option<(Arithmetic, &'static str)> {
    Some(match name {
        operators::ADD => (Arithmetic::Add, "+"),
        operators::SUBSTRACT => (Arithmetic::Subtract, "-"),
        operators::MULTIPLY => (Arithmetic::Multiply, "*"),
        operators::DIVIDE => (Arithmetic::Divide, "/"),
        operators::MODULO => (Arithmetic::Remainder, "%"),
        _ => return None,
    })
}

/// Form, filter and body of the macro that the parser has written out.
fn macro_of(written: &ComprehensionExpr) -> Option<(Form, Option<&IdedExpr>, &IdedExpr)> {
    let Expr::Call(step) = &written.loop_step.expr else { return None };
    match (step.func_name.as_str(), &step.args[..]) {
        (operators::LOGICAL_AND, [_, body]) => Some((Form::All, None, body)),
        (operators::LOGICAL_OR, [_, body]) => Some((Form::Exists, None, body)),
        (operators::ADD, [_, appended]) => Some((Form::Collect, None, only_element(appended)?)),
        (operators::CONDITIONAL, [condition, then, _]) => match (&written.accu_init.expr, &then.expr) {
            (Expr::Literal(LiteralValue::Int(_)), _) => Some((Form::ExistsOne, None, condition)),
            (_, Expr::Call(append)) => Some((Form::Collect, Some(condition), only_element(append.args.get(1)?)?)),
            _ => None,
        },
        _ => None,
    }
}

fn only_element(list: &IdedExpr) -> Option<&IdedExpr> {
    match &list.expr {
        Expr::List(list) if list.elements.len() == 1 => list.elements.first(),
        _ => None,
    }
}
