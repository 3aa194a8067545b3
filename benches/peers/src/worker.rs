//! Libraries in Python, each in a process of its own that is asked line by line (`worker.py`).

use crate::case::{Case, Inputs};
use crate::{About, Peer};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// What `worker.py` knows.
pub const NAMES: [&str; 4] = ["onnxruntime", "jax", "torch", "torch-compile"];

pub struct Worker {
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    about: About,
    result: PathBuf,
}

impl Worker {
    /// Starts the process; why not, where the library is not there.
    pub fn start(python: &Path, name: &str, folder: &Path) -> Result<Self, String> {
        let mut process = Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("worker.py"))
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e}", python.display()))?;
        let questions = process.stdin.take();
        let answers = process.stdout.take().ok_or("no answers")?;
        let mut worker = Self {
            process,
            questions,
            answers: BufReader::new(answers),
            about: About {
                name: name.to_owned(),
                version: String::new(),
                place: "cpu".to_owned(),
                how: String::new(),
            },
            result: folder.join(format!("{name}.f32")),
        };
        let hello = worker.answer()?;
        let text = |key: &str| hello[key].as_str().unwrap_or_default().to_owned();
        worker.about.version = text("version");
        worker.about.how = text("how");
        Ok(worker)
    }

    fn answer(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        if read.map_err(|e| e.to_string())? == 0 {
            return Err("the process ended".to_owned());
        }
        let answer: Value = serde_json::from_str(&line).map_err(|e| e.to_string())?;
        match answer["missing"].as_str() {
            Some(why) => Err(why.to_owned()),
            None => Ok(answer),
        }
    }

    fn ask(&mut self, question: Value) -> Result<Value, String> {
        let pipe = self.questions.as_mut().ok_or("no process")?;
        writeln!(pipe, "{question}").map_err(|e| e.to_string())?;
        self.answer()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The end of its questions is the end of the process.
        self.questions = None;
        let _ = self.process.wait();
    }
}

impl Peer for Worker {
    fn about(&self) -> About {
        self.about.clone()
    }
    fn prepare(&mut self, case: &Case, inputs: &Inputs) -> Result<(), String> {
        let question = json!({"prepare": {
            "function": case.function,
            "direction": case.direction.name(),
            "rows": case.rows,
            "columns": case.columns,
            "x": inputs.x_file,
            "dy": inputs.dy_file,
        }});
        self.ask(question).map(drop)
    }
    fn time(&mut self, calls: u32) -> Result<Duration, String> {
        let answer = self.ask(json!({ "time": calls }))?;
        let seconds = answer["seconds"].as_f64().ok_or("no time")?;
        Ok(Duration::from_secs_f64(seconds))
    }
    fn result(&mut self) -> Result<Vec<f32>, String> {
        self.ask(json!({ "result": self.result }))?;
        let bytes = std::fs::read(&self.result).map_err(|e| e.to_string())?;
        let words = bytes.chunks_exact(4);
        Ok(words
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect())
    }
}
