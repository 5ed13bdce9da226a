//! How all tasks hear that the run is over.

use std::time::Instant;

use tokio::sync::watch;
use tokio::time::sleep_until;

/// Until when what waits is told, once the end has come.
pub(super) type Ending = Option<Instant>;
/// Hears of the end.
pub(super) type EndWatch = watch::Receiver<Ending>;

/// Waits for the end to come.
pub(super) async fn told_to_end(end: &mut EndWatch) {
    // Whoever would tell is gone: that is the end, too.
    let _ = end.wait_for(Option::is_some).await;
}

/// Waits until the end has come and its time is up.
pub(super) async fn too_late(end: &mut EndWatch) {
    let until = end.wait_for(Option::is_some).await.map_or(None, |end| *end);
    if let Some(until) = until {
        sleep_until(until.into()).await;
    }
}
