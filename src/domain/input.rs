//! What is wrong with something that a client wrote, and the small parses that requests and rows of imports share. Errors
//! name fields and rules, never a value.

use super::strict::Object;
use super::{Directory, Fault, Subject, SubjectError, SubjectInput, Violation};

/// Why an input is not taken: where, and whether its shape is wrong (400) or a subject's value (422).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputError {
    /// Never none.
    pub violations: Vec<Violation>,
    pub fault: Fault,
}

impl InputError {
    pub fn shape(pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        let violation = Violation { pointer: pointer.into(), reason: reason.into() };
        Self { violations: vec![violation], fault: Fault::Shape }
    }

    /// Of a subject that stands at `pointer`.
    pub fn of_subject(error: SubjectError, pointer: &str) -> Self {
        Self { violations: vec![error.violation.under(pointer)], fault: error.fault }
    }
}

/// All faults of all subjects at once; a fault of shape outweighs one of value.
pub fn subjects(
    inputs: &[Object<SubjectInput<'_>>],
    pointer: &str,
    directory: &Directory,
) -> Result<Vec<Subject>, InputError> {
    let mut subjects = Vec::with_capacity(inputs.len());
    let mut violations: Vec<Violation> = Vec::new();
    let mut fault = Fault::Value;
    for (place, Object(input)) in inputs.iter().enumerate() {
        match Subject::parse(input, directory) {
            Ok(subject) => subjects.push(subject),
            Err(error) => {
                if error.fault == Fault::Shape {
                    fault = Fault::Shape;
                }
                violations.push(error.violation.under(&format!("{pointer}/{place}")));
            }
        }
    }
    if violations.is_empty() { Ok(subjects) } else { Err(InputError { violations, fault }) }
}

/// A text of 1 to `chars_max` characters, none of them a control character, trimmed of nothing.
pub fn text(given: String, pointer: impl Into<String>, chars_max: usize) -> Result<String, InputError> {
    let fits = (1..=chars_max).contains(&given.chars().count()) && !given.chars().any(char::is_control);
    if fits {
        Ok(given)
    } else {
        let reason = format!("expected 1 to {chars_max} characters and no control characters");
        Err(InputError::shape(pointer, reason))
    }
}
