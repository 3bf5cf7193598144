//! The form of a provider: which values a person gives, which have defaults, and which may be left out.

use std::collections::BTreeMap;

use super::template::{ParameterRule, RuleError};
use crate::api::provider::Parameter;

/// The form for the person who connects.
#[derive(Clone, Debug, Default)]
pub struct Form(BTreeMap<String, Field>);

#[derive(Clone, Debug)]
struct Field {
    rule: ParameterRule,
    default: Option<String>,
    optional: bool,
}

/// A description's form cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// A pattern does not compile.
    #[error("parameters.{name}: {source}")]
    Pattern {
        /// The parameter.
        name: String,
        /// Why.
        source: RuleError,
    },
    /// A default is not what its own pattern asks for.
    #[error("parameters.{name}.default: {source}")]
    Default {
        /// The parameter.
        name: String,
        /// Why.
        source: RuleError,
    },
}

impl Form {
    /// Reads `parameters` of a description.
    pub fn new(parameters: &BTreeMap<String, Parameter>) -> Result<Self, FormError> {
        let field = |(name, parameter): (&String, &Parameter)| {
            let rule = ParameterRule::new(parameter.pattern.as_deref())
                .map_err(|source| FormError::Pattern { name: name.clone(), source })?;
            if let Some(default) = &parameter.default {
                rule.check(default).map_err(|source| FormError::Default { name: name.clone(), source })?;
            }
            let field = Field { rule, default: parameter.default.clone(), optional: parameter.optional };
            Ok((name.clone(), field))
        };
        parameters.iter().map(field).collect::<Result<_, _>>().map(Self)
    }

    /// Whether it asks for a value of this name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether there may be no value of this name.
    pub fn may_be_absent(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|field| field.optional && field.default.is_none())
    }

    /// The values that hold: the defaults, and over them each of `layers`, the last one on top. A value that is empty
    /// counts as not given, and one that the form does not ask for is dropped.
    pub fn values(&self, layers: &[&BTreeMap<String, String>]) -> BTreeMap<String, String> {
        let given =
            |name: &str| layers.iter().rev().find_map(|layer| layer.get(name).filter(|value| !value.is_empty()));
        self.0
            .iter()
            .filter_map(|(name, field)| Some((name.clone(), given(name).or(field.default.as_ref())?.clone())))
            .collect()
    }

    /// The first value that is missing among those that hold.
    pub fn missing(&self, values: &BTreeMap<String, String>) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, field)| !field.optional && !values.contains_key(*name))
            .map(|(name, _)| name.as_str())
    }

    /// The first value that is not what the form asks for.
    pub fn mistake(&self, values: &BTreeMap<String, String>) -> Option<(&str, RuleError)> {
        self.0.iter().find_map(|(name, field)| Some((name.as_str(), field.rule.check(values.get(name)?).err()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form() -> Form {
        let parameter = |default: Option<&str>, optional| Parameter {
            default: default.map(str::to_owned),
            optional,
            ..Parameter::default()
        };
        let parameters = [
            ("site", parameter(None, false)),
            ("region", parameter(Some("eu"), false)),
            ("team", parameter(None, true)),
            ("plan", parameter(Some("free"), true)),
        ];
        Form::new(&parameters.map(|(name, parameter)| (name.to_owned(), parameter)).into()).unwrap()
    }

    fn map<const N: usize>(values: [(&str, &str); N]) -> BTreeMap<String, String> {
        values.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn later_layers_win_over_earlier_ones_and_over_defaults() {
        let form = form();
        let spec = map([("site", "acme"), ("region", "us"), ("unknown", "x")]);
        let params = map([("site", "globex"), ("team", ""), ("plan", "")]);
        assert_eq!(form.values(&[]), map([("region", "eu"), ("plan", "free")]));
        assert_eq!(form.values(&[&spec]), map([("site", "acme"), ("region", "us"), ("plan", "free")]));
        let all = form.values(&[&spec, &params]);
        assert_eq!(all, map([("site", "globex"), ("region", "us"), ("plan", "free")]));
        assert_eq!(form.values(&[&all]), all, "what holds stays");
    }

    #[test]
    fn only_what_is_neither_given_nor_optional_nor_has_a_default_is_missing() {
        let form = form();
        assert_eq!(form.missing(&form.values(&[])), Some("site"));
        assert_eq!(form.missing(&form.values(&[&map([("site", "acme")])])), None);
        assert!(form.may_be_absent("team") && !form.may_be_absent("plan") && !form.may_be_absent("site"));
        let wrong = form.values(&[&map([("site", "acme"), ("team", "a/b")])]);
        assert_eq!(form.mistake(&wrong).map(|(name, _)| name), Some("team"));
    }

    #[test]
    fn a_default_keeps_to_its_pattern() {
        let parameter = Parameter { default: Some("a/b".into()), ..Parameter::default() };
        let error = Form::new(&[("site".to_owned(), parameter)].into()).unwrap_err().to_string();
        assert_eq!(error, "parameters.site.default: the value does not match one DNS label");
    }
}
