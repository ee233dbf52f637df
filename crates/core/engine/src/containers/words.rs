//! How long ago, in the words that `docker ps` prints.

use std::time::Duration;

/// A duration in Docker's rough words: `Less than a second`, `About a minute`, `3 weeks`.
pub fn human_duration(d: Duration) -> String {
    let seconds = d.as_secs();
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match seconds {
        0 => return "Less than a second".to_owned(),
        1 => return "1 second".to_owned(),
        2..60 => return format!("{seconds} seconds"),
        _ => {}
    }
    match minutes {
        1 => return "About a minute".to_owned(),
        2..60 => return format!("{minutes} minutes"),
        _ => {}
    }
    match hours {
        0..=1 => "About an hour".to_owned(),
        2..48 => format!("{hours} hours"),
        48..336 => format!("{} days", hours / 24),
        336..1440 => format!("{} weeks", hours / 24 / 7),
        1440..17520 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_dockers() {
        let cases = [
            (0, "Less than a second"),
            (1, "1 second"),
            (45, "45 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (3600 + 1799, "About an hour"),
            (3600 + 1800, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (13 * 24 * 3600, "13 days"),
            (14 * 24 * 3600, "2 weeks"),
            (59 * 24 * 3600, "8 weeks"),
            (60 * 24 * 3600, "2 months"),
            (729 * 24 * 3600, "24 months"),
            (730 * 24 * 3600, "2 years"),
        ];
        for (seconds, words) in cases {
            assert_eq!(human_duration(Duration::from_secs(seconds)), words, "{seconds}");
        }
    }
}
