//! How much an expression may be, and how much it may be given.
//!
//! Takes sources, syntax trees and JSON, gives the bound that is exceeded. Sources are checked before they are parsed,
//! since the parser recurses.

use cel::{
    IdedExpr, Program,
    common::ast::{EntryExpr, Expr},
};
use serde_json::Value;

use super::{
    DEEPEST_INPUT, DEEPEST_SOURCE, EvaluateError, ExpressionError, LARGEST_INPUT, LONGEST_SOURCE, MOST_OPERATORS,
    MOST_WORK,
};

/// Bytes of one value in the evaluator beside its content, about.
const VALUE: usize = 64;

/// What evaluating an expression costs, as far as the expression alone shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// Nodes of the tree as written.
    operators: usize,
    /// Whether there is a macro, which runs once for each element.
    repeats: bool,
}

/// Length and nesting of a source. Brackets close again; prefix operators and conditionals are all counted, as if
/// nested.
pub(super) fn check_source(source: &str) -> Result<(), ExpressionError> {
    if source.len() > LONGEST_SOURCE {
        return Err(ExpressionError::TooLong);
    }
    let (mut open, mut prefixes) = (0_usize, 0_usize);
    // Brackets inside of string literals count as well: telling literals from code here, differently from the parser,
    // would be a way in.
    for (position, byte) in source.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            b'!' | b'-' | b'?' => prefixes += 1,
            _ => {}
        }
        if open > DEEPEST_SOURCE || prefixes > DEEPEST_SOURCE {
            return Err(ExpressionError::TooDeep { position });
        }
    }
    Ok(())
}

/// Size of a tree, and what a macro in it runs over.
pub(super) fn check_program(program: &Program) -> Result<Cost, ExpressionError> {
    let (mut operators, mut macros) = (0_usize, 0_usize);
    let (mut path_only, mut too_deep) = (true, None);
    visit(program.expression(), &mut |node, depth| {
        operators += 1;
        if depth > DEEPEST_SOURCE {
            too_deep = Some(node.id);
        }
        if let Expr::Comprehension(comprehension) = &node.expr {
            macros += 1;
            path_only &= is_path(&comprehension.iter_range);
        }
    });
    if macros > 1 || !path_only {
        return Err(ExpressionError::Macro);
    }
    if operators > MOST_OPERATORS {
        return Err(ExpressionError::TooComplex);
    }
    if let Some(id) = too_deep {
        let (position, _) = program.source_info().offset_for(id).unwrap_or_default();
        return Err(ExpressionError::TooDeep { position: position as usize });
    }
    Ok(Cost { operators, repeats: macros > 0 })
}

/// Names that no macro binds. A macro's own names (`x` in `list.map(x, …)`) count as bound everywhere, which the
/// evaluator corrects.
pub(super) fn free_variables(root: &IdedExpr) -> Vec<&str> {
    let (mut used, mut bound) = (Vec::new(), Vec::new());
    visit(root, &mut |node, _| match &node.expr {
        Expr::Ident(name) => used.push(name.as_str()),
        Expr::Comprehension(comprehension) => {
            bound.extend([comprehension.iter_var.as_str(), comprehension.accu_var.as_str()]);
            bound.extend(comprehension.iter_var2.as_deref());
        }
        _ => {}
    });
    used.retain(|name| !bound.contains(name));
    used
}

/// Whether this is a variable, or a field or an element of one.
fn is_path(node: &IdedExpr) -> bool {
    match &node.expr {
        Expr::Ident(_) => true,
        Expr::Select(select) => is_path(&select.operand),
        Expr::Call(call) if call.func_name == "_[_]" => {
            call.args.first().is_some_and(is_path)
                && call.args.iter().skip(1).all(|index| matches!(index.expr, Expr::Literal(_)))
        }
        _ => false,
    }
}

/// Every node with its depth, on a stack of our own. Selections, as in `a.b.c`, do not count: they cost the evaluator
/// little stack.
fn visit<'tree>(root: &'tree IdedExpr, seen: &mut impl FnMut(&'tree IdedExpr, usize)) {
    let mut rest = vec![(root, 0)];
    while let Some((node, depth)) = rest.pop() {
        seen(node, depth);
        match &node.expr {
            Expr::Select(select) => rest.push((&select.operand, depth)),
            other => rest.extend(parts(other).into_iter().map(|part| (part, depth + 1))),
        }
    }
}

/// The nodes right below one that is no selection.
fn parts(node: &Expr) -> Vec<&IdedExpr> {
    match node {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(inner) => {
            vec![&inner.iter_range, &inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| entry_nodes(&entry.expr)).collect(),
        Expr::Struct(built) => built.entries.iter().flat_map(|entry| entry_nodes(&entry.expr)).collect(),
        Expr::Select(_) | Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Vec::new(),
    }
}

/// Key and value of an entry.
fn entry_nodes(entry: &EntryExpr) -> impl Iterator<Item = &IdedExpr> {
    let (key, value) = match entry {
        EntryExpr::MapEntry(entry) => (Some(&entry.key), &entry.value),
        EntryExpr::StructField(field) => (None, &field.value),
    };
    key.into_iter().chain([value])
}

/// Size and depth of the variables, and the work that the expression would have with them.
pub(super) fn check_input<'value>(
    values: impl IntoIterator<Item = &'value Value>,
    cost: Cost,
) -> Result<(), EvaluateError> {
    let mut size = Size::default();
    for value in values {
        size.add(value)?;
    }
    let repeats = if cost.repeats { size.widest.max(1) } else { 1 };
    // A number takes a few bytes as JSON and many in the evaluator, which copies it at every operator.
    let touched = size.bytes.max(1).saturating_mul(repeats).max(size.values.saturating_mul(VALUE));
    let work = cost.operators.saturating_mul(touched);
    if work > MOST_WORK { Err(EvaluateError::TooMuchWork) } else { Ok(()) }
}

/// How many bytes a value takes as JSON, about.
pub(super) fn json_bytes(value: &Value) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |bytes| bytes.len())
}

/// How large values are.
#[derive(Default)]
struct Size {
    bytes: usize,
    /// Values of any kind.
    values: usize,
    /// Elements of the largest list or map.
    widest: usize,
}

impl Size {
    /// Walks a value on a stack of our own: it may be deep.
    fn add(&mut self, value: &Value) -> Result<(), EvaluateError> {
        let mut rest = vec![(value, 1_usize)];
        while let Some((value, depth)) = rest.pop() {
            if depth > DEEPEST_INPUT {
                return Err(EvaluateError::InputTooDeep);
            }
            self.values += 1;
            match value {
                Value::Null | Value::Bool(_) | Value::Number(_) => self.bytes += 8,
                Value::String(text) => self.bytes += text.len() + 2,
                Value::Array(elements) => {
                    self.bytes += elements.len() + 2;
                    self.widest = self.widest.max(elements.len());
                    rest.extend(elements.iter().map(|element| (element, depth + 1)));
                }
                Value::Object(entries) => {
                    self.bytes += entries.keys().map(|key| key.len() + 4).sum::<usize>() + 2;
                    self.widest = self.widest.max(entries.len());
                    rest.extend(entries.values().map(|element| (element, depth + 1)));
                }
            }
            if self.bytes > LARGEST_INPUT {
                return Err(EvaluateError::InputTooLarge);
            }
        }
        Ok(())
    }
}
