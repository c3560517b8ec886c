//! Compiles the parser's tree into nodes for the evaluator. Checks names, types and nesting, so that the operator
//! refuses a broken rule before it trains anything. Pure.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};

use super::{
    function::{self, Style},
    node::{Arithmetic, Comparison, Form, Loop, Node},
    parse::{DECIMAL, PREFIXED, RuleProblem, SourceMap, parse, problem_of_text},
    value::{CelValue, Table, Type},
};

/// Deepest nesting of an expression's parts.
pub const MAX_DEPTH: usize = 64;
/// Deepest nesting of `all`, `exists`, `exists_one`, `map` and `filter` inside one another.
pub const MAX_LOOPS: usize = 2;

/// The largest number up to which a double can hold every whole number.
const MAX_WHOLE: u64 = 1 << 53;

/// The kind of expression, which decides the names that it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// A rule of a gate: the maps, and `candidate`.
    Gate,
    /// A rule over a live metric: `value`.
    Live,
}

impl Setting {
    /// The longest expression, in bytes.
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
pub fn compile(setting: Setting, source: &str) -> Result<Node, RuleProblem> {
    if source.len() > setting.longest() {
        return Err(RuleProblem::new(None, format!("has more than {} bytes: make several of it", setting.longest())));
    }
    let (tree, map) = parse(source)?;
    let (name, type_) = setting.variable();
    let mut lowering = Lowering { setting, map: &map, scope: vec![(name.to_owned(), type_)] };
    let (node, type_) = lowering.lower(&tree, 0)?;
    if !type_.may_be(&Type::Bool) {
        let what = format!("it yields {type_}, and a rule yields true or false: compare it with something");
        return Err(RuleProblem::new(None, what));
    }
    Ok(node)
}

struct Lowering<'a> {
    setting: Setting,
    map: &'a SourceMap<'a>,
    /// The variables and their types, from the outermost in.
    scope: Vec<(String, Type)>,
}

type Lowered = Result<(Node, Type), RuleProblem>;

impl Lowering<'_> {
    fn lower(&mut self, part: &IdedExpr, depth: usize) -> Lowered {
        if depth > MAX_DEPTH {
            return self.refuse(part, format!("it is nested more than {MAX_DEPTH} deep: make several rules of it"));
        }
        match &part.expr {
            Expr::Literal(literal) => self.literal(part, literal),
            // In CEL a leading dot skips the enclosing package. Rules have no packages.
            Expr::Ident(name) => self.name(part, name.trim_start_matches('.')),
            Expr::Select(select) => self.select(part, select, depth),
            Expr::Call(call) => self.call(part, call, depth),
            Expr::List(list) => {
                let (nodes, types) = self.all(&list.elements, depth)?;
                let first = types.first().cloned().unwrap_or(Type::Any);
                let element = if types.iter().all(|type_| *type_ == first) { first } else { Type::Any };
                Ok((Node::List(nodes), Type::List(Box::new(element))))
            }
            Expr::Comprehension(comprehension) => self.comprehension(part, comprehension, depth),
            Expr::Map(_) | Expr::Struct(_) => self.refuse(part, "maps and messages cannot be written here: use a list"),
            Expr::Unspecified => self.refuse(part, "a part of it is not understood"),
        }
    }

    fn all<'e>(
        &mut self,
        parts: impl IntoIterator<Item = &'e IdedExpr>,
        depth: usize,
    ) -> Result<(Vec<Node>, Vec<Type>), RuleProblem> {
        let lowered = parts.into_iter().map(|part| self.lower(part, depth + 1)).collect::<Result<Vec<_>, _>>()?;
        Ok(lowered.into_iter().unzip())
    }

    fn literal(&self, part: &IdedExpr, literal: &LiteralValue) -> Lowered {
        let written = self.map.token(part);
        match literal {
            LiteralValue::Boolean(holds) => Ok((Node::Constant(CelValue::Bool(*holds.inner())), Type::Bool)),
            LiteralValue::Double(number) => Ok((Node::Constant(CelValue::Number(*number.inner())), Type::Number)),
            LiteralValue::Int(_) if written.starts_with("0x") => self.refuse(part, DECIMAL),
            LiteralValue::Int(number) if number.inner().unsigned_abs() <= MAX_WHOLE => {
                #[allow(clippy::cast_precision_loss, reason = "whole numbers up to 2^53 are exact")]
                let number = *number.inner() as f64;
                Ok((Node::Constant(CelValue::Number(number)), Type::Number))
            }
            LiteralValue::Int(number) => {
                self.refuse(part, format!("{} is too large for an exact number: write it as 1e18", number.inner()))
            }
            LiteralValue::UInt(_) => self.refuse(part, DECIMAL),
            LiteralValue::String(text) => match problem_of_text(written) {
                Some(problem) => self.refuse(part, problem),
                None => Ok((Node::Constant(CelValue::text(text.inner())), Type::Text)),
            },
            LiteralValue::Bytes(_) => self.refuse(part, PREFIXED),
            LiteralValue::Null => self.refuse(part, "null does not exist here: test with has(metrics.x)"),
        }
    }

    fn name(&self, part: &IdedExpr, name: &str) -> Lowered {
        if let Some(place) = self.scope.iter().rposition(|(known, _)| known == name) {
            return Ok((Node::Variable(place), self.scope[place].1.clone()));
        }
        let table = Table::ALL.into_iter().find(|table| table.name() == name);
        if let Some(table) = table.filter(|_| self.setting == Setting::Gate) {
            return Ok((Node::Constant(CelValue::Table(table)), Type::Table(table)));
        }
        let names = self.setting.names();
        let what =
            format!("there is no {name}: a rule reads {names} (a name with a dash is read as metrics[\"val-acc\"])");
        self.refuse(part, what)
    }

    fn select(&mut self, part: &IdedExpr, select: &SelectExpr, depth: usize) -> Lowered {
        let (map, type_) = self.lower(&select.operand, depth + 1)?;
        let entry = match &type_ {
            Type::Table(table) => table.entries(),
            Type::Any => Type::Any,
            _ => {
                // The token of `x.field` is the dot, that of `has(x.field)` the bracket.
                let place = if select.test { self.map.place(&select.operand) } else { self.map.place_after(part) };
                return Err(RuleProblem::new(place, format!("{type_} has no entry {}", select.field)));
            }
        };
        let key = Node::Constant(CelValue::text(&select.field));
        Ok(if select.test {
            (Node::In(Box::new([key, map])), Type::Bool)
        } else {
            (Node::Entry(Box::new([map, key])), entry)
        })
    }

    /// An operator or a function.
    fn call(&mut self, part: &IdedExpr, call: &CallExpr, depth: usize) -> Lowered {
        match (call.func_name.as_str(), &call.args[..]) {
            (operators::LOGICAL_NOT, [one]) => {
                Ok((Node::Not(Box::new(self.operand(part, one, &Type::Bool, depth)?)), Type::Bool))
            }
            (operators::NEGATE, [one]) => {
                Ok((Node::Negate(Box::new(self.operand(part, one, &Type::Number, depth)?)), Type::Number))
            }
            (name @ (operators::LOGICAL_AND | operators::LOGICAL_OR), [one, two]) => {
                let one = self.operand(part, one, &Type::Bool, depth)?;
                let sides = Box::new([one, self.operand(part, two, &Type::Bool, depth)?]);
                Ok((if name == operators::LOGICAL_AND { Node::And(sides) } else { Node::Or(sides) }, Type::Bool))
            }
            (operators::CONDITIONAL, [condition, one, two]) => {
                let condition = self.operand(part, condition, &Type::Bool, depth)?;
                let [(one, one_type), (two, two_type)] = self.sides(one, two, depth)?;
                let type_ = if one_type == two_type { one_type } else { Type::Any };
                Ok((Node::If(Box::new([condition, one, two])), type_))
            }
            (operators::INDEX, [container, key]) => self.index(part, container, key, depth),
            (operators::IN, [one, container]) => self.membership(part, one, container, depth),
            (name, [one, two]) => match (comparison(name), arithmetic(name)) {
                (Some(comparison), _) => self.compare(part, comparison, [one, two], depth),
                (None, Some(operation)) => self.arithmetic(part, operation, [one, two], depth),
                (None, None) => self.function(part, call, depth),
            },
            _ => self.function(part, call, depth),
        }
    }

    fn function(&mut self, part: &IdedExpr, call: &CallExpr, depth: usize) -> Lowered {
        let in_math = call.target.as_ref().is_some_and(|target| target.expr == Expr::Ident("math".to_owned()));
        let (style, name) = match &call.target {
            Some(_) if in_math => (Style::Plain, format!("math.{}", call.func_name)),
            Some(_) => (Style::Method, call.func_name.clone()),
            None => (Style::Plain, call.func_name.clone()),
        };
        let receiver = call.target.as_deref().filter(|_| !in_math);
        let (nodes, types) = self.all(receiver.into_iter().chain(&call.args), depth)?;
        match function::find(style, &name, &types) {
            Ok((function, gives)) => Ok((Node::Call(function, nodes), gives)),
            Err(what) => Err(RuleProblem::new(self.map.callee(part).1, what)),
        }
    }

    /// An operand that must have this type.
    fn operand(
        &mut self,
        operator: &IdedExpr,
        operand: &IdedExpr,
        wanted: &Type,
        depth: usize,
    ) -> Result<Node, RuleProblem> {
        let (node, type_) = self.lower(operand, depth + 1)?;
        if type_.may_be(wanted) {
            return Ok(node);
        }
        self.refuse(operator, format!("{} takes {wanted}, not {type_}", self.map.token(operator)))
    }

    /// Both sides of an operator.
    fn sides(&mut self, one: &IdedExpr, two: &IdedExpr, depth: usize) -> Result<[(Node, Type); 2], RuleProblem> {
        Ok([self.lower(one, depth + 1)?, self.lower(two, depth + 1)?])
    }

    fn index(&mut self, part: &IdedExpr, container: &IdedExpr, key: &IdedExpr, depth: usize) -> Lowered {
        let [(container, type_), (key, key_type)] = self.sides(container, key, depth)?;
        let (wanted, entry) = match &type_ {
            Type::Table(table) => (Type::Text, table.entries()),
            Type::List(element) => (Type::Number, (**element).clone()),
            Type::Any => (Type::Any, Type::Any),
            other => return self.refuse(part, format!("{other} has no entries")),
        };
        if !key_type.may_be(&wanted) {
            return self.refuse(part, format!("an entry of {type_} is named by {wanted}, not by {key_type}"));
        }
        Ok((Node::Entry(Box::new([container, key])), entry))
    }

    fn membership(&mut self, part: &IdedExpr, one: &IdedExpr, container: &IdedExpr, depth: usize) -> Lowered {
        let [(one, one_type), (container, type_)] = self.sides(one, container, depth)?;
        let fits = match &type_ {
            Type::Table(_) => one_type.may_be(&Type::Text),
            Type::List(element) => one_type.may_be(element),
            Type::Any => true,
            _ => false,
        };
        if !fits {
            let what = format!("{one_type} is never in {type_}: write \"name\" in metrics, or x in [a, b]");
            return self.refuse(part, what);
        }
        Ok((Node::In(Box::new([one, container])), Type::Bool))
    }

    fn compare(&mut self, part: &IdedExpr, comparison: Comparison, sides: [&IdedExpr; 2], depth: usize) -> Lowered {
        let [(one, one_type), (two, two_type)] = self.sides(sides[0], sides[1], depth)?;
        if let Type::Table(table) = &one_type {
            return self.refuse(part, format!("{} is a map: compare one of its entries", table.name()));
        }
        let ordered = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        let orderless = |type_: &Type| matches!(type_, Type::Bool | Type::List(_));
        if ordered && (orderless(&one_type) || orderless(&two_type)) || !one_type.may_be(&two_type) {
            let sign = self.map.token(part);
            let remedy =
                if [&one_type, &two_type].contains(&&Type::Text) { ": double(…) makes a number of text" } else { "" };
            return self.refuse(part, format!("{sign} cannot compare {one_type} with {two_type}{remedy}"));
        }
        Ok((Node::Compare(comparison, Box::new([one, two])), Type::Bool))
    }

    fn arithmetic(&mut self, part: &IdedExpr, operation: Arithmetic, sides: [&IdedExpr; 2], depth: usize) -> Lowered {
        let [(one, one_type), (two, two_type)] = self.sides(sides[0], sides[1], depth)?;
        let texts = operation == Arithmetic::Add && one_type.may_be(&Type::Text) && two_type.may_be(&Type::Text);
        let numbers = one_type.may_be(&Type::Number) && two_type.may_be(&Type::Number);
        let type_ = match (numbers, texts) {
            (true, true) => Type::Any,
            (true, false) => Type::Number,
            (false, true) => Type::Text,
            (false, false) => {
                let sign = self.map.token(part);
                let remedy = if one_type == Type::Text || two_type == Type::Text {
                    ": double(…) makes a number of text, string(…) text of a number"
                } else {
                    ""
                };
                return self.refuse(part, format!("{sign} cannot take {one_type} and {two_type}{remedy}"));
            }
        };
        Ok((Node::Arithmetic(operation, Box::new([one, two])), type_))
    }

    fn comprehension(&mut self, part: &IdedExpr, loop_: &ComprehensionExpr, depth: usize) -> Lowered {
        let (range, type_) = self.lower(&loop_.iter_range, depth + 1)?;
        let element = match type_ {
            Type::List(element) => *element,
            Type::Table(_) => Type::Text,
            Type::Any => Type::Any,
            other => {
                let what = format!("{other} is not a map or a list: loops need one");
                return Err(RuleProblem::new(self.map.callee(part).1, what));
            }
        };
        let name = loop_.iter_var.as_str();
        let refuse_name = |what: String| Err(RuleProblem::new(self.map.place_after(part), what));
        if name == "math" || Table::ALL.iter().any(|table| table.name() == name) {
            return refuse_name(format!("a variable cannot be called {name}: choose another name"));
        }
        if self.scope.len() > MAX_LOOPS {
            return refuse_name(format!("loops are nested more than {MAX_LOOPS} deep: make several rules of it"));
        }
        let Some((form, filter, body)) = macro_of(loop_) else {
            return self.refuse(part, "a part of it is not understood");
        };
        self.scope.push((name.to_owned(), element));
        let filter = filter.map(|filter| self.condition(part, filter, depth)).transpose()?;
        let (body, type_) = if form == Form::Collect {
            let (body, element) = self.lower(body, depth + 1)?;
            (body, Type::List(Box::new(element)))
        } else {
            (self.condition(part, body, depth)?, Type::Bool)
        };
        self.scope.pop();
        Ok((Node::Loop(Box::new(Loop { form, range, filter, body })), type_))
    }

    /// The condition that a macro evaluates for each element.
    fn condition(&mut self, part: &IdedExpr, condition: &IdedExpr, depth: usize) -> Result<Node, RuleProblem> {
        let (node, type_) = self.lower(condition, depth + 1)?;
        if type_.may_be(&Type::Bool) {
            return Ok(node);
        }
        let (name, place) = self.map.callee(part);
        Err(RuleProblem::new(place, format!("{name} takes an expression that is true or false, not {type_}")))
    }

    /// Refuses the expression because of this part.
    fn refuse<T>(&self, part: &IdedExpr, what: impl Into<String>) -> Result<T, RuleProblem> {
        Err(RuleProblem::new(self.map.place(part), what))
    }
}

fn comparison(name: &str) -> Option<Comparison> {
    Some(match name {
        operators::EQUALS => Comparison::Equal,
        operators::NOT_EQUALS => Comparison::NotEqual,
        operators::LESS => Comparison::Less,
        operators::LESS_EQUALS => Comparison::LessOrEqual,
        operators::GREATER => Comparison::Greater,
        operators::GREATER_EQUALS => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn arithmetic(name: &str) -> Option<Arithmetic> {
    Some(match name {
        operators::ADD => Arithmetic::Add,
        operators::SUBSTRACT => Arithmetic::Subtract,
        operators::MULTIPLY => Arithmetic::Multiply,
        operators::DIVIDE => Arithmetic::Divide,
        operators::MODULO => Arithmetic::Remainder,
        _ => return None,
    })
}

/// Form, filter and body of a macro that the parser has expanded.
fn macro_of(expanded: &ComprehensionExpr) -> Option<(Form, Option<&IdedExpr>, &IdedExpr)> {
    let Expr::Call(step) = &expanded.loop_step.expr else { return None };
    match (step.func_name.as_str(), &step.args[..]) {
        (operators::LOGICAL_AND, [_, body]) => Some((Form::All, None, body)),
        (operators::LOGICAL_OR, [_, body]) => Some((Form::Exists, None, body)),
        (operators::ADD, [_, appended]) => Some((Form::Collect, None, only_element(appended)?)),
        (operators::CONDITIONAL, [condition, then, _]) => match (&expanded.accu_init.expr, &then.expr) {
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
