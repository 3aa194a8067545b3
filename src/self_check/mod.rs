//! What an adapter gets right: known answers to small questions, what each wrong one means, and
//! what was done about it. Numbers and words alone; `gpu` asks, `kernels` obeys.

pub(crate) mod answers;
pub(crate) mod probes;

use crate::axis::AxisFunction;
use crate::catalogue::Activation;
use crate::error::Error;
use crate::plan::Quirks;
use crate::shader::Pass;
use futures_intrusive::sync::ManualResetEvent;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// What an adapter gets right and wrong, as far as it was asked: [`Gpu::self_check`] asks all,
/// [`Gpu::findings`] tells what is known so far. Printed, it is a line for each finding.
///
/// [`Gpu::self_check`]: crate::Gpu::self_check
/// [`Gpu::findings`]: crate::Gpu::findings
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SelfCheck {
    /// The adapter.
    pub adapter: String,
    /// First the probes of the adapter itself, then a finding for each function and direction.
    pub findings: Vec<Finding>,
    pub(crate) trust: Trust,
}

/// One question's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What was asked about: `barriers`, `gelu backward`.
    pub subject: String,
    /// Right, or what was done.
    pub verdict: Verdict,
    /// What was measured; of a wrong answer, what it means and what was done.
    pub detail: String,
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// As it must be.
    Right,
    /// Not as it should be, in a way that matters to some functions and not to others: the known
    /// answers of each decide.
    Tolerated,
    /// Wrong, and gone around: results are as good as ever.
    WorkedAround,
    /// Wrong: the function does not run on this adapter. A [`Backend`](crate::Backend) computes
    /// it on the CPU, anything else answers [`Error::Untrusted`].
    Distrusted,
}

impl Finding {
    pub(crate) fn new(subject: impl Into<String>, verdict: Verdict, detail: String) -> Self {
        let subject = subject.into();
        Self {
            subject,
            verdict,
            detail,
        }
    }
}

impl SelfCheck {
    /// Whether every function that was asked about runs on the adapter within its bounds, be it
    /// by a way around what the adapter gets wrong.
    pub fn passed(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.verdict != Verdict::Distrusted)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Right => "right",
            Self::Tolerated => "tolerated",
            Self::WorkedAround => "worked around",
            Self::Distrusted => "WRONG",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:13} {}: {}", self.verdict, self.subject, self.detail)
    }
}

impl fmt::Display for SelfCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let of = |verdict| {
            let with = |finding: &&Finding| finding.verdict == verdict;
            self.findings.iter().filter(with).count()
        };
        write!(
            f,
            "{}: {} questions, {} worked around, {} tolerated, {} wrong",
            self.adapter,
            self.findings.len(),
            of(Verdict::WorkedAround),
            of(Verdict::Tolerated),
            of(Verdict::Distrusted)
        )
    }
}

/// A direction of a function, as far as its mathematics differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Direction {
    Forward,
    Backward,
    FromOutput,
}

impl From<Pass> for Direction {
    fn from(pass: Pass) -> Self {
        match pass {
            Pass::Forward | Pass::ForwardInPlace => Self::Forward,
            Pass::Backward | Pass::BackwardInPlace => Self::Backward,
            Pass::FromOutput => Self::FromOutput,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::FromOutput => "backward from the output",
        })
    }
}

/// A way through the rows of an axis function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    /// Short rows, which an invocation may hold.
    Short,
    /// One invocation, one row.
    Invocation,
    /// One workgroup, one row.
    Workgroup,
    /// Several invocations a row, over workgroups.
    Split,
}

impl Way {
    /// Whether invocations hand their parts to each other at barriers.
    fn meets(self) -> bool {
        matches!(self, Self::Workgroup | Self::Split)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "short rows",
            Self::Invocation => "a row an invocation",
            Self::Workgroup => "a row a workgroup",
            Self::Split => "split rows",
        })
    }
}

/// What can be asked about: a function, a direction, a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    Elementwise(Activation, Direction),
    Axis(AxisFunction, Direction, Way),
}

impl Question {
    /// All of them, in the order of the catalogue.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for &activation in Activation::ALL {
            for direction in [Direction::Forward, Direction::Backward] {
                all.push(Self::Elementwise(activation, direction));
            }
        }
        for &function in AxisFunction::ALL {
            for direction in [
                Direction::Forward,
                Direction::Backward,
                Direction::FromOutput,
            ] {
                let logarithmic =
                    matches!(function, AxisFunction::LogSoftmax | AxisFunction::LogSumExp);
                if direction == Direction::FromOutput && logarithmic {
                    continue;
                }
                for way in [Way::Short, Way::Invocation, Way::Workgroup, Way::Split] {
                    all.push(Self::Axis(function, direction, way));
                }
            }
        }
        all
    }

    fn meets(self) -> bool {
        matches!(self, Self::Axis(_, _, way) if way.meets())
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elementwise(activation, direction) => write!(f, "{activation} {direction}"),
            Self::Axis(function, direction, way) => write!(f, "{function} {direction}, {way}"),
        }
    }
}

/// What is known of an adapter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    pub quirks: Quirks,
    /// Why nothing is to run on it.
    nothing: Option<String>,
    probes: Vec<Finding>,
    known: HashMap<Question, Known>,
}

#[derive(Clone, Debug)]
enum Known {
    UnderWay(Arc<Answer>),
    Settled(Verdict, String),
}

/// What a kernel that is about to be recorded does about a question.
#[derive(Debug)]
pub(crate) enum Consult {
    /// The function is right.
    Go,
    /// Asked already; the work stands and falls with the answer.
    Await(Arc<Answer>),
    /// Nobody asked.
    Ask,
}

/// An answer that is still to come, for all whose work depends on it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub question: Question,
    submitted: AtomicBool,
    /// `None` where it is right, or never comes: then the work did not run, either.
    wrong: OnceLock<Option<String>>,
    settled: ManualResetEvent,
}

impl Answer {
    pub(crate) fn new(question: Question) -> Self {
        Self {
            question,
            submitted: AtomicBool::new(false),
            wrong: OnceLock::new(),
            settled: ManualResetEvent::new(false),
        }
    }

    /// Whether it is on its way from the device, or there.
    pub(crate) fn is_submitted(&self) -> bool {
        self.submitted.load(Ordering::Acquire)
    }

    /// Whether it came, or comes no more.
    pub(crate) fn is_settled(&self) -> bool {
        self.wrong.get().is_some()
    }

    /// Whether it came, and was right, or comes no more.
    pub(crate) fn is_over(&self) -> bool {
        self.wrong.get() == Some(&None)
    }

    pub(crate) fn submitted(&self) {
        self.submitted.store(true, Ordering::Release);
    }

    /// Waits for it, where it was submitted; an error where it is wrong.
    pub(crate) async fn verdict(&self) -> Result<(), Error> {
        if self.is_submitted() {
            self.settled.wait().await;
        }
        match self.wrong.get() {
            Some(Some(reason)) => Err(untrusted(self.question, reason)),
            _ => Ok(()),
        }
    }

    fn settle(&self, wrong: Option<String>) {
        // The first word is the last.
        let _ = self.wrong.set(wrong);
        self.settled.set();
    }
}

fn untrusted(function: impl fmt::Display, reason: &str) -> Error {
    Error::Untrusted {
        function: function.to_string(),
        reason: reason.to_owned(),
    }
}

impl Trust {
    /// An error where no function is to run.
    pub(crate) fn anything(&self) -> Result<(), Error> {
        match &self.nothing {
            Some(reason) => Err(untrusted("anything", reason)),
            None => Ok(()),
        }
    }

    /// What is known before work on a question is recorded.
    pub(crate) fn consult(&self, question: Question) -> Result<Consult, Error> {
        match self.known.get(&question) {
            None => Ok(Consult::Ask),
            Some(Known::UnderWay(answer)) => Ok(Consult::Await(Arc::clone(answer))),
            Some(Known::Settled(Verdict::Distrusted, reason)) => Err(untrusted(question, reason)),
            Some(Known::Settled(..)) => Ok(Consult::Go),
        }
    }

    /// Takes in what the probes found; what was known of functions is not any more.
    pub(crate) fn probed(&mut self, probes: Vec<Finding>, quirks: Quirks, nothing: Option<String>) {
        *self = Self {
            quirks,
            nothing,
            probes,
            known: HashMap::new(),
        };
    }

    pub(crate) fn under_way(&mut self, answer: &Arc<Answer>) {
        self.known
            .entry(answer.question)
            .or_insert_with(|| Known::UnderWay(Arc::clone(answer)));
    }

    /// Takes in an answer, or `None` where it does not come, that was asked under `quirks`.
    pub(crate) fn settle(
        &mut self,
        answer: &Answer,
        quirks: Quirks,
        judged: Option<Result<String, String>>,
    ) {
        let question = answer.question;
        match judged {
            None => {
                // Somebody else's answer may be there by now.
                if matches!(self.known.get(&question), Some(Known::UnderWay(other)) if std::ptr::eq(&**other, answer))
                {
                    self.known.remove(&question);
                }
                answer.settle(None);
            }
            Some(Ok(detail)) => {
                self.known
                    .insert(question, Known::Settled(Verdict::Right, detail));
                answer.settle(None);
            }
            Some(Err(wrong)) => {
                self.wrong(question, quirks, &wrong);
                answer.settle(Some(wrong));
            }
        }
    }

    fn wrong(&mut self, question: Question, quirks: Quirks, wrong: &str) {
        if question.meets() && !quirks.barriers {
            // It may be the barriers: the same rows are asked about again without them.
            if !self.quirks.barriers {
                self.quirks.barriers = true;
                self.known.retain(|question, _| !question.meets());
            }
            let around = "barriers are done without from here on: no row is given to a \
                          workgroup, and parts of a row are merged by one invocation";
            if matches!(question, Question::Axis(_, _, Way::Workgroup)) {
                let detail = format!("{wrong}; {around}");
                self.known
                    .insert(question, Known::Settled(Verdict::WorkedAround, detail));
            } else {
                self.known.remove(&question);
            }
            return;
        }
        let known = Known::Settled(Verdict::Distrusted, wrong.to_owned());
        self.known.insert(question, known);
    }

    /// What is known, probes first.
    pub(crate) fn report(&self, adapter: String) -> SelfCheck {
        let mut findings = self.probes.clone();
        for question in Question::all() {
            if let Some(Known::Settled(verdict, detail)) = self.known.get(&question) {
                let consequence = match verdict {
                    Verdict::Distrusted => {
                        ". It does not run on this adapter; a backend computes it on the CPU"
                    }
                    _ => "",
                };
                findings.push(Finding::new(
                    question.to_string(),
                    *verdict,
                    format!("{detail}{consequence}"),
                ));
            }
        }
        SelfCheck {
            adapter,
            findings,
            trust: self.clone(),
        }
    }

    /// The functions that do not run, for one line; `None` where there are none.
    pub(crate) fn summary(&self) -> Option<String> {
        if let Some(reason) = &self.nothing {
            return Some(format!("no function runs on it: {reason}"));
        }
        let wrong: Vec<String> = Question::all()
            .into_iter()
            .filter(|question| {
                let known = self.known.get(question);
                matches!(known, Some(Known::Settled(Verdict::Distrusted, _)))
            })
            .map(|question| question.to_string())
            .collect();
        (!wrong.is_empty()).then(|| format!("on the CPU: {}", wrong.join("; ")))
    }
}

#[cfg(test)]
mod tests;
