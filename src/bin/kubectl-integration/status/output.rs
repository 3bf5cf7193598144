//! Objects as JSON and YAML, as kubectl prints them: several as a `List`, none with managed fields.

use integration_operator::api::ProjectIntegration;
use serde_json::{Value, json};

use crate::failure::Failure;

const WHAT: &str = "the integrations";

/// One object.
pub(crate) fn object(integration: &ProjectIntegration) -> Result<Value, Failure> {
    let mut integration = integration.clone();
    integration.metadata.managed_fields = None;
    serde_json::to_value(integration).map_err(|error| failed(&error))
}

/// Several objects.
pub(crate) fn list(integrations: &[ProjectIntegration]) -> Result<Value, Failure> {
    let items = integrations.iter().map(object).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "apiVersion": "v1", "kind": "List", "items": items }))
}

/// Prints JSON.
pub(crate) fn json(value: &Value) -> Result<(), Failure> {
    println!("{}", serde_json::to_string_pretty(value).map_err(|error| failed(&error))?);
    Ok(())
}

/// Prints YAML.
pub(crate) fn yaml(value: &Value) -> Result<(), Failure> {
    print!("{}", serde_yaml::to_string(value).map_err(|error| failed(&error))?);
    Ok(())
}

fn failed(error: &dyn std::fmt::Display) -> Failure {
    Failure::Output { what: WHAT, reason: error.to_string() }
}
