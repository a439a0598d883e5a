//! Asks for what must not be seen on the screen.

use std::io::{Read as _, Write as _};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};

/// Asks for a secret on standard output, and reads a line of standard input without showing it.
///
/// # Errors
///
/// Why it could not be read.
pub(crate) fn secret(prompt: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("failed during password entry: {error}");
    let mut stdout = std::io::stdout();
    stdout.write_all(prompt.as_bytes()).and_then(|()| stdout.flush()).map_err(failed)?;
    let silence = Silence::begin();
    let line = read_line();
    drop(silence);
    // The end of the line that was typed did not show either.
    stdout.write_all(b"\n").and_then(|()| stdout.flush()).map_err(failed)?;
    line.map(|line| line.trim().to_owned()).map_err(failed)
}

/// One line, and not a byte of the next.
fn read_line() -> std::io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    let mut stdin = std::io::stdin().lock();
    while stdin.read(&mut byte)? > 0 && byte != *b"\n" {
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// While it lives, the terminal does not show what is typed; nothing if standard input is no terminal.
struct Silence {
    before: Option<Termios>,
}

impl Silence {
    fn begin() -> Self {
        let before = termios::tcgetattr(rustix::stdio::stdin()).ok();
        if let Some(before) = &before {
            let mut silent = before.clone();
            silent.local_modes.remove(LocalModes::ECHO);
            // A terminal that cannot be silent is read all the same.
            let _shown = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &silent);
        }
        Self { before }
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _stays_silent = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}
