//! The `daypass` command.

fn main() -> std::process::ExitCode {
    daypass::cli::run()
}
