//! The client for Python, with whatever `python3` is there.

use std::process::Command;

use super::{Language, client_tests, folder};

struct Python;

impl Python {
    fn find() -> Result<Self, String> {
        let is_new_enough = "import sys; sys.exit(sys.version_info < (3, 9))";
        let probe = Command::new("python3").args(["-c", is_new_enough]).status();
        match probe {
            Ok(status) if status.success() => Ok(Self),
            Ok(_) => Err("python3 is older than 3.9".to_owned()),
            Err(error) => Err(format!("python3: {error}")),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("python3");
        command
            .env("PYTHONPATH", folder(self))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

impl Language for Python {
    fn folder(&self) -> &'static str {
        "python"
    }

    fn program(&self, name: &str) -> Command {
        let mut command = self.command();
        command.arg(folder(self).join(format!("{name}.py")));
        command
    }

    fn marks_code(&self) -> &'static str {
        "python"
    }

    fn snippet(&self, text: &str) -> Command {
        let mut command = self.command();
        command.args(["-c", text]);
        command
    }
}

client_tests!(Python::find());
