//! The way into a program whose processes live for milliseconds: from the C library straight to its `main`. What the standard
//! library does on its own way in is left out where only the words of a crash are better for it: it reads
//! `/proc/self/maps`, and makes a stack and handlers to tell a stack that has overflowed from other faults.

use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd};
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};

/// Makes `main`, a function that takes nothing and gives an [`ExitCode`], what a `#![no_main]` program runs.
#[macro_export]
macro_rules! entry {
    ($main:ident) => {
        #[allow(unsafe_code)]
        mod entry {
            // SAFETY: a program has one `main`, which the C library calls once, with these arguments.
            #[unsafe(no_mangle)]
            extern "C" fn main(_count: i32, _arguments: *const *const u8) -> i32 {
                $crate::entry::enter(super::$main)
            }
        }
    };
}

/// Runs `main` and ends the process.
pub fn enter(main: fn() -> ExitCode) -> ! {
    open_standard_streams();
    // Whoever writes where nobody reads is to hear of it. What is started from here gets the default back: from
    // `Command`, or by the steps of a plan.
    // SAFETY: a change of how a signal is taken, while there is one thread.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let code = main();
    // It tells its number to nobody else.
    let number = (0..=u8::MAX).find(|number| ExitCode::from(*number) == code).unwrap_or(u8::MAX);
    std::process::exit(number.into())
}

/// A file that is opened later must not become standard output because that was closed.
fn open_standard_streams() {
    // SAFETY: numbers that are only asked about.
    let streams = [0, 1, 2].map(|number| unsafe { BorrowedFd::borrow_raw(number) });
    let mut polled = streams.each_ref().map(|stream| PollFd::new(stream, PollFlags::empty()));
    // Where that can't be asked the streams are as they are.
    let _ = rustix::event::poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    for stream in &polled {
        if stream.revents().contains(PollFlags::NVAL)
            && let Ok(null) = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty())
        {
            // The lowest number that is free is the first of those that are closed.
            let _ = OwnedFd::into_raw_fd(null);
        }
    }
}
