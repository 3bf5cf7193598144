//! What runs, in the order in which it stops: the operator first, which may have something to say to the others.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::cluster::Cluster;
use crate::operator::Operator;
use crate::sandbox::Sandbox;

/// How long anything may take that takes a second or two.
const PATIENCE: Duration = Duration::from_mins(1);

/// All that runs, as far as the story has come.
#[derive(Default)]
pub(crate) struct Stage {
    pub(crate) operator: Option<Operator>,
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) cluster: Option<Cluster>,
    /// Whether the story came to its end, and all stands for the reader to play with.
    pub(crate) told: bool,
}

impl Stage {
    pub(crate) fn operator(&self) -> Result<&Operator> {
        self.operator.as_ref().context("the operator was not started")
    }

    pub(crate) fn sandbox(&self) -> Result<&Sandbox> {
        self.sandbox.as_ref().context("the sandbox was not started")
    }

    pub(crate) fn cluster(&self) -> Result<&Cluster> {
        self.cluster.as_ref().context("the control plane was not started")
    }

    /// Waits for ever, unless the operator ends.
    pub(crate) async fn stand(&mut self) -> Result<()> {
        let operator = self.operator.as_mut().context("the operator was not started")?;
        loop {
            operator.check()?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Asks until there is an answer. What keeps it from coming is told in the end.
    pub(crate) async fn until<T>(&mut self, what: &str, ask: impl AsyncFn() -> Result<Option<T>>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(operator) = &mut self.operator {
                operator.check()?;
            }
            let why = match ask().await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => String::new(),
                Err(error) => format!(": {error:#}"),
            };
            if Instant::now() > deadline {
                bail!("waited {} s in vain until {what}{why}", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
