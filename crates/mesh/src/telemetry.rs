//! Logs: JSON lines on standard error, each with the method and trace id of the call it belongs to.

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, TelemetryConfig};

/// Starts logging for the process. A second call keeps the first.
///
/// # Errors
/// [`ConfigError::Invalid`] if the filter can't be parsed.
pub fn start(config: &TelemetryConfig) -> Result<(), ConfigError> {
    let filter = EnvFilter::try_new(&config.log)
        .map_err(|error| ConfigError::Invalid { key: "telemetry.log", problem: error.to_string() })?;
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .finish();
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        tracing::debug!("logging was already started");
    }
    Ok(())
}
