//! Trying again, later and later, as long as something comes.

use std::time::Duration;

use crate::answer::Trouble;
use crate::client::Patience;
use crate::fetch::Event;

/// Attempts at one thing.
pub(crate) struct Retries {
    patience: Patience,
    in_vain: u32,
}

impl Retries {
    pub(crate) fn new(patience: Patience) -> Self {
        Self { patience, in_vain: 0 }
    }

    /// Something new came.
    pub(crate) fn succeed(&mut self) {
        self.in_vain = 0;
    }

    /// Waits until the next attempt.
    ///
    /// # Errors
    /// There is none: the trouble as it is to be told.
    pub(crate) async fn wait(&mut self, trouble: Trouble, watch: &mut dyn FnMut(Event<'_>)) -> Result<(), Trouble> {
        let (reason, after, away) = match trouble {
            Trouble::Passing { reason, after, away } => (reason, after, away),
            other => return Err(other),
        };
        self.in_vain += 1;
        let Patience { first_wait, longest_wait, attempts, .. } = self.patience;
        if let Some(after) = after.filter(|after| *after > longest_wait) {
            let reason = format!("{reason}, and wants to be left alone for {} s", after.as_secs());
            return Err(Trouble::Passing { reason, after: None, away });
        }
        if self.in_vain >= attempts {
            let times = if attempts == 1 { "once".to_owned() } else { format!("{attempts} times") };
            let reason = format!("{reason}; tried {times}");
            return Err(Trouble::Passing { reason, after: None, away });
        }
        let doubled = first_wait.saturating_mul(2u32.saturating_pow(self.in_vain - 1)).min(longest_wait);
        let wait: Duration = after.unwrap_or(doubled);
        watch(Event::Retry { reason: &reason, wait });
        tokio::time::sleep(wait).await;
        Ok(())
    }
}
