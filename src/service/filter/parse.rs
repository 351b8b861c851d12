//! Reads filters by recursive descent.
//!
//! Length and nesting are bounded before anything is built; an error names the character it was found at.
//!
//! ```text
//! filter     = factor {"AND" factor}          as in AIP-160, OR binds tighter than AND
//! factor     = term {"OR" term}
//! term       = ["NOT"] (comparison | "(" filter ")")
//! comparison = field operator value
//! operator   = "=" | "!=" | "<" | "<=" | ">" | ">=" | ":"
//! value      = text without spaces and parentheses | quoted text
//! ```

use super::{Comparison, Equality, Node, NumberField, Test, TextField, TimeField, cause};
use crate::{domain::ids::JobId, limits, state::STATES};

const FIELDS: &str = "job_id, name, state, site_id, city_id, zone_id, cause, retry_of, labels.KEY, create_time, \
    start_time, end_time, finish_deadline, green_share_permille, task_count, replan_count, \
    priority";

/// Why a filter cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ParseError {
    /// Character it was found at, from 1; `None` when it is about the whole.
    pub(super) position: Option<usize>,
    /// What is wrong and what is accepted.
    pub(super) message: String,
}

type Parsed<T> = Result<T, ParseError>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Compare(Comparison),
    Has,
}

struct Parser<'a> {
    text: &'a str,
    /// Byte position of what comes next.
    at: usize,
}

pub(super) fn parse(text: &str) -> Parsed<Node> {
    if text.len() > limits::FILTER_BYTES_MAX {
        return Err(ParseError {
            position: None,
            message: format!("has at most {} characters", limits::FILTER_BYTES_MAX),
        });
    }
    let mut parser = Parser { text, at: 0 };
    let node = parser.filter(0)?;
    parser.skip_space();
    if parser.rest().is_empty() {
        Ok(node)
    } else {
        Err(parser.error("expected AND, OR or the end"))
    }
}

impl<'a> Parser<'a> {
    fn filter(&mut self, depth: usize) -> Parsed<Node> {
        let mut factors = vec![self.factor(depth)?];
        while self.keyword("AND") {
            factors.push(self.factor(depth)?);
        }
        Ok(single_or(factors, Node::And))
    }

    fn factor(&mut self, depth: usize) -> Parsed<Node> {
        let mut terms = vec![self.term(depth)?];
        while self.keyword("OR") {
            terms.push(self.term(depth)?);
        }
        Ok(single_or(terms, Node::Or))
    }

    fn term(&mut self, depth: usize) -> Parsed<Node> {
        if self.keyword("NOT") {
            return Ok(Node::Not(Box::new(self.operand(depth)?)));
        }
        self.operand(depth)
    }

    fn operand(&mut self, depth: usize) -> Parsed<Node> {
        self.skip_space();
        if !self.rest().starts_with('(') {
            return self.comparison().map(Node::Test);
        }
        if depth >= limits::FILTER_DEPTH_MAX {
            let message = format!("is nested more than {} deep", limits::FILTER_DEPTH_MAX);
            return Err(self.error(message));
        }
        self.at += 1;
        let inner = self.filter(depth + 1)?;
        self.skip_space();
        if !self.rest().starts_with(')') {
            return Err(self.error("expected AND, OR or `)`"));
        }
        self.at += 1;
        Ok(inner)
    }

    fn comparison(&mut self) -> Parsed<Test> {
        self.skip_space();
        let field_at = self.at;
        let field = self.run(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        if field.is_empty() {
            return Err(self.error(format!("expected a field: one of {FIELDS}")));
        }
        self.skip_space();
        let operator_at = self.at;
        let Some(operator) = self.operator() else {
            return Err(self.error(format!(
                "expected an operator (=, !=, <, <=, >, >=, :) after `{field}`"
            )));
        };
        self.skip_space();
        let value_at = self.at;
        let value = self.value()?;
        test(field, operator, &value).map_err(|(part, message)| {
            self.at = match part {
                Part::Field => field_at,
                Part::Operator => operator_at,
                Part::Value => value_at,
            };
            self.error(message)
        })
    }

    fn operator(&mut self) -> Option<Operator> {
        const OPERATORS: [(&str, Operator); 7] = [
            ("!=", Operator::Compare(Comparison::NotEqual)),
            ("<=", Operator::Compare(Comparison::LessOrEqual)),
            (">=", Operator::Compare(Comparison::GreaterOrEqual)),
            ("=", Operator::Compare(Comparison::Equal)),
            ("<", Operator::Compare(Comparison::Less)),
            (">", Operator::Compare(Comparison::Greater)),
            (":", Operator::Has),
        ];
        let rest = self.rest();
        let (sign, operator) = OPERATORS
            .into_iter()
            .find(|(sign, _)| rest.starts_with(sign))?;
        self.at += sign.len();
        Some(operator)
    }

    fn value(&mut self) -> Parsed<String> {
        let Some(quote @ ('"' | '\'')) = self.rest().chars().next() else {
            let value = self.run(|c| !c.is_whitespace() && !matches!(c, '(' | ')' | '"' | '\''));
            if value.is_empty() {
                return Err(self.error("expected a value"));
            }
            return Ok(value.to_owned());
        };
        let start = self.at;
        self.at += 1;
        let mut value = String::new();
        let mut escaped = false;
        for c in self.rest().chars() {
            self.at += c.len_utf8();
            match c {
                _ if escaped => {
                    value.push(c);
                    escaped = false;
                }
                '\\' => escaped = true,
                c if c == quote => return Ok(value),
                c => value.push(c),
            }
        }
        self.at = start;
        Err(self.error("expected the end of the quoted value"))
    }

    /// Takes a keyword that stands alone.
    fn keyword(&mut self, word: &str) -> bool {
        self.skip_space();
        let Some(after) = self.rest().strip_prefix(word) else {
            return false;
        };
        let alone = after
            .chars()
            .next()
            .is_none_or(|c| c.is_whitespace() || matches!(c, '(' | ')'));
        if alone {
            self.at += word.len();
        }
        alone
    }

    fn run(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c| !accept(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn skip_space(&mut self) {
        self.run(char::is_whitespace);
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError {
            position: Some(self.text[..self.at].chars().count() + 1),
            message: message.into(),
        }
    }
}

/// Which part of a comparison is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Field,
    Operator,
    Value,
}

fn single_or(mut nodes: Vec<Node>, join: fn(Vec<Node>) -> Node) -> Node {
    if nodes.len() == 1
        && let Some(only) = nodes.pop()
    {
        return only;
    }
    join(nodes)
}

fn test(field: &str, operator: Operator, value: &str) -> Result<Test, (Part, String)> {
    if let Some(key) = field.strip_prefix("labels.") {
        return label_test(key, operator, value);
    }
    match field {
        // The form of AIP-160 for the presence of a key.
        "labels" if operator == Operator::Has => Ok(Test::HasLabel(value.to_owned())),
        "labels" => Err((Part::Field, "expected `labels.KEY`".into())),
        "job_id" => {
            let equality = equality(field, operator)?;
            let id = JobId::parse(value);
            let id = id.ok_or_else(|| wrong_value(field, "a job id: a UUID in lower case"))?;
            Ok(Test::JobId(equality, id))
        }
        "retry_of" => {
            let equality = equality(field, operator)?;
            let id = JobId::parse(value);
            let id = id.ok_or_else(|| wrong_value(field, "a job id: a UUID in lower case"))?;
            Ok(Test::RetryOf(equality, id))
        }
        "name" => text(TextField::Name, field, operator, value),
        "site_id" => text(TextField::SiteId, field, operator, value),
        "city_id" => text(TextField::CityId, field, operator, value),
        "zone_id" => text(TextField::ZoneId, field, operator, value),
        "state" => state_test(field, operator, value),
        "cause" => {
            let equality = equality(field, operator)?;
            let known = cause(value);
            let cause = known.ok_or_else(|| {
                wrong_value(
                    field,
                    "the name of a ChangeCause such as FORECAST or CORDON",
                )
            })?;
            Ok(Test::Cause(equality, cause))
        }
        "create_time" => time(TimeField::CreateTime, field, operator, value),
        "start_time" => time(TimeField::StartTime, field, operator, value),
        "end_time" => time(TimeField::EndTime, field, operator, value),
        "finish_deadline" => time(TimeField::FinishDeadline, field, operator, value),
        "green_share_permille" => number(NumberField::GreenSharePermille, field, operator, value),
        "priority" => number(NumberField::Priority, field, operator, value),
        "task_count" => number(NumberField::TaskCount, field, operator, value),
        "replan_count" => number(NumberField::ReplanCount, field, operator, value),
        _ => Err((
            Part::Field,
            format!("`{field}` is not a field of the filter; fields are {FIELDS}"),
        )),
    }
}

fn label_test(key: &str, operator: Operator, value: &str) -> Result<Test, (Part, String)> {
    if key.is_empty() {
        return Err((
            Part::Field,
            "expected the key of a label after `labels.`".into(),
        ));
    }
    match operator {
        Operator::Has if value == "*" => Ok(Test::HasLabel(key.to_owned())),
        Operator::Has => Ok(Test::LabelIs(
            key.to_owned(),
            Equality::Equal,
            value.to_owned(),
        )),
        Operator::Compare(_) => {
            let equality = equality("labels", operator)?;
            Ok(Test::LabelIs(key.to_owned(), equality, value.to_owned()))
        }
    }
}

fn state_test(field: &str, operator: Operator, value: &str) -> Result<Test, (Part, String)> {
    let equality = equality(field, operator)?;
    let name = value.strip_prefix("JOB_STATE_").unwrap_or(value);
    let known = STATES.into_iter().find(|known| *known == name);
    let accepted = || format!("one of {}", STATES.join(", "));
    let name = known.ok_or_else(|| wrong_value(field, &accepted()))?;
    Ok(Test::State(equality, name))
}

fn text(
    kind: TextField,
    field: &str,
    operator: Operator,
    value: &str,
) -> Result<Test, (Part, String)> {
    Ok(Test::Text(
        kind,
        equality(field, operator)?,
        value.to_owned(),
    ))
}

fn time(
    kind: TimeField,
    field: &str,
    operator: Operator,
    value: &str,
) -> Result<Test, (Part, String)> {
    let comparison = comparison(field, operator)?;
    let moment: jiff::Timestamp = value
        .parse()
        .map_err(|_| wrong_value(field, "a time of RFC 3339 such as 2026-11-23T08:00:00Z"))?;
    Ok(Test::Time(kind, comparison, moment.as_millisecond()))
}

fn number(
    kind: NumberField,
    field: &str,
    operator: Operator,
    value: &str,
) -> Result<Test, (Part, String)> {
    let comparison = comparison(field, operator)?;
    let number = value
        .parse()
        .map_err(|_| wrong_value(field, "a whole number that is not negative"))?;
    Ok(Test::Number(kind, comparison, number))
}

fn equality(field: &str, operator: Operator) -> Result<Equality, (Part, String)> {
    match operator {
        Operator::Compare(Comparison::Equal) => Ok(Equality::Equal),
        Operator::Compare(Comparison::NotEqual) => Ok(Equality::NotEqual),
        Operator::Compare(_) | Operator::Has => Err((
            Part::Operator,
            format!("`{field}` is compared by = or != only"),
        )),
    }
}

fn comparison(field: &str, operator: Operator) -> Result<Comparison, (Part, String)> {
    match operator {
        Operator::Compare(comparison) => Ok(comparison),
        Operator::Has => Err((
            Part::Operator,
            format!("`{field}` is compared by =, !=, <, <=, > or >="),
        )),
    }
}

fn wrong_value(field: &str, accepted: &str) -> (Part, String) {
    (
        Part::Value,
        format!("`{field}` is compared with {accepted}"),
    )
}
