//! The part of Python's pickle that torch's files of weights use (specification 7).
//!
//! Values are handles into one heap, so nothing nests: no recursion, no cycle, no deep drop.

use super::TorchFileError;
use super::keys::shown;
use std::collections::HashMap;
use std::fmt;

/// Operations of one pickle; a checkpoint of the largest backbone has 30,000. Each keeps some 200
/// bytes at most.
const MOST_OPERATIONS: usize = 200_000;
/// Axes of a tensor.
const MOST_AXES: usize = 8;

/// What a storage holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// f32.
    Float,
    /// i64.
    Long,
}

impl Element {
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Float => 4,
            Self::Long => 8,
        }
    }
}

/// The names a pickle may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    Storage(Element),
}

/// A storage, as a persistent id describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Storage<'a> {
    pub(super) element: Element,
    pub(super) key: &'a str,
    pub(super) count: usize,
}

/// A tensor: a view into a storage.
#[derive(Clone, Debug)]
pub(super) struct View<'a> {
    pub(super) storage: Storage<'a>,
    pub(super) offset: usize,
    pub(super) size: Vec<usize>,
    pub(super) stride: Vec<usize>,
}

/// A value, or a handle to one in the heap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    Text(&'a str),
    Global(Global),
    Tuple(usize),
    List(usize),
    Dictionary(usize),
    Storage(Storage<'a>),
    Tensor(usize),
}

impl fmt::Display for Value<'_> {
    /// What it is; of text only the beginning.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{:?}", shown(text)),
            Self::Int(number) => write!(f, "the number {number}"),
            Self::Bool(_) | Self::None => write!(f, "a constant"),
            Self::Global(_) => write!(f, "a name"),
            Self::Tuple(_) => write!(f, "a tuple"),
            Self::List(_) => write!(f, "a list"),
            Self::Dictionary(_) => write!(f, "a dictionary"),
            Self::Storage(_) => write!(f, "a storage"),
            Self::Tensor(_) => write!(f, "a tensor"),
        }
    }
}

/// Everything that handles point to.
#[derive(Debug, Default)]
pub(super) struct Heap<'a> {
    tuples: Vec<Vec<Value<'a>>>,
    lists: Vec<Vec<Value<'a>>>,
    dictionaries: Vec<Vec<(Value<'a>, Value<'a>)>>,
    tensors: Vec<View<'a>>,
    storages: HashMap<&'a str, Storage<'a>>,
}

impl<'a> Heap<'a> {
    pub(super) fn list(&self, id: usize) -> Option<&[Value<'a>]> {
        self.lists.get(id).map(Vec::as_slice)
    }

    pub(super) fn dictionary(&self, id: usize) -> Option<&[(Value<'a>, Value<'a>)]> {
        self.dictionaries.get(id).map(Vec::as_slice)
    }

    pub(super) fn tensor(&self, id: usize) -> Option<&View<'a>> {
        self.tensors.get(id)
    }

    /// The storage that a key of the pickle stands for.
    pub(super) fn storage(&self, key: &str) -> Option<Storage<'a>> {
        self.storages.get(key).copied()
    }

    fn new_tuple(&mut self, values: Vec<Value<'a>>) -> Value<'a> {
        self.tuples.push(values);
        Value::Tuple(self.tuples.len() - 1)
    }

    fn new_dictionary(&mut self) -> Value<'a> {
        self.dictionaries.push(Vec::new());
        Value::Dictionary(self.dictionaries.len() - 1)
    }

    fn values(&self, tuple: Value<'a>) -> Option<&[Value<'a>]> {
        match tuple {
            Value::Tuple(id) => self.tuples.get(id).map(Vec::as_slice),
            _ => None,
        }
    }

    /// Numbers of a tuple; `None` for anything else, or for too many.
    fn numbers(&self, tuple: Value<'a>) -> Option<Vec<usize>> {
        let values = self.values(tuple).filter(|values| values.len() <= MOST_AXES)?;
        let number = |value: &Value| match value {
            Value::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        };
        values.iter().map(number).collect()
    }

    /// `('storage', type, key, location, count)`, in the legacy container with a view after it.
    fn persistent(&mut self, id: Value<'a>) -> Result<Value<'a>, &'static str> {
        let values = self.values(id).ok_or("a persistent id that is no tuple")?;
        let (values, view) = values.split_at(values.len().min(5));
        let [Value::Text("storage"), kind, Value::Text(key), Value::Text(_), count] = *values
        else {
            return Err("a persistent id that is no storage");
        };
        let (Value::Global(Global::Storage(element)), Value::Int(count)) = (kind, count) else {
            return Err("a storage without type and length");
        };
        if !matches!(view, [] | [Value::None]) {
            return Err("a storage that is a view of another: save the file with a newer torch");
        }
        let count = usize::try_from(count).map_err(|_| "a storage of negative length")?;
        let storage = Storage { element, key, count };
        if *self.storages.entry(key).or_insert(storage) != storage {
            return Err("two different storages of one key");
        }
        Ok(Value::Storage(storage))
    }

    fn call(&mut self, function: Value<'a>, tuple: Value<'a>) -> Result<Value<'a>, &'static str> {
        let arguments = self.values(tuple).ok_or("a call without arguments")?;
        match (function, arguments) {
            (Value::Global(Global::OrderedDict), []) => Ok(self.new_dictionary()),
            (
                Value::Global(Global::RebuildTensor),
                &[
                    Value::Storage(storage),
                    Value::Int(offset),
                    size,
                    stride,
                    Value::Bool(_),
                    Value::Dictionary(_),
                ],
            ) => {
                let size = self.numbers(size).ok_or("a tensor without a shape")?;
                let stride = self.numbers(stride).ok_or("a tensor without strides")?;
                if size.len() != stride.len() {
                    return Err("a tensor with more axes than strides");
                }
                let offset = usize::try_from(offset).map_err(|_| "a negative offset")?;
                self.tensors.push(View { storage, offset, size, stride });
                Ok(Value::Tensor(self.tensors.len() - 1))
            }
            _ => Err("a call that a file of weights does not make"),
        }
    }
}

/// Reads one pickle from `bytes` at `start`; its value and the byte after it.
pub(super) fn read<'a>(
    heap: &mut Heap<'a>,
    bytes: &'a [u8],
    start: usize,
) -> Result<(Value<'a>, usize), TorchFileError> {
    let mut reader =
        Reader { heap, bytes, at: start, stack: vec![], marks: vec![], memo: HashMap::new() };
    for _ in 0..MOST_OPERATIONS {
        let offset = reader.at;
        let wrong = |what: &str| TorchFileError::Pickle { offset, what: what.to_owned() };
        if let Some(value) = reader.step().map_err(wrong)? {
            return Ok((value, reader.at));
        }
    }
    let what = format!("more than {MOST_OPERATIONS} operations");
    Err(TorchFileError::Pickle { offset: reader.at, what })
}

struct Reader<'h, 'a> {
    heap: &'h mut Heap<'a>,
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value<'a>>,
    /// Heights of the stack at open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
}

const CUT_OFF: &str = "the file ends within it";
const EMPTY: &str = "takes more than is there";

impl<'a> Reader<'_, 'a> {
    /// One operation; a value at the pickle's end.
    fn step(&mut self) -> Result<Option<Value<'a>>, &'static str> {
        let [operation] = self.take()?;
        match operation {
            0x80 => match self.take()? {
                [2] => {}
                _ => return Err("not protocol 2"),
            },
            b'.' => return self.pop().map(Some),
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'J' => {
                let number = i32::from_le_bytes(self.take()?);
                self.stack.push(Value::Int(number.into()));
            }
            b'K' => {
                let [number] = self.take()?;
                self.stack.push(Value::Int(number.into()));
            }
            b'M' => {
                let number = u16::from_le_bytes(self.take()?);
                self.stack.push(Value::Int(number.into()));
            }
            0x8a => self.long()?,
            b'X' => {
                let length = u32::from_le_bytes(self.take()?);
                let text = std::str::from_utf8(self.slice(length as usize)?);
                self.stack.push(Value::Text(text.map_err(|_| "text that is not UTF-8")?));
            }
            b'c' => self.global()?,
            b'q' | b'r' => {
                let index = self.index(operation == b'q')?;
                let value = *self.stack.last().filter(|_| !self.at_mark()).ok_or(EMPTY)?;
                self.memo.insert(index, value);
            }
            b'h' | b'j' => {
                let index = self.index(operation == b'h')?;
                let value = *self.memo.get(&index).ok_or("recalls what was never kept")?;
                self.stack.push(value);
            }
            _ => self.build(operation)?,
        }
        Ok(None)
    }

    /// Operations that make or change tuples, lists, dictionaries, tensors.
    fn build(&mut self, operation: u8) -> Result<(), &'static str> {
        match operation {
            b')' => self.tuple(0)?,
            0x85..=0x87 => self.tuple(usize::from(operation - 0x84))?,
            b't' => {
                let values = self.pop_to_mark()?;
                let tuple = self.heap.new_tuple(values);
                self.stack.push(tuple);
            }
            b'}' => {
                let dictionary = self.heap.new_dictionary();
                self.stack.push(dictionary);
            }
            b']' => {
                self.heap.lists.push(Vec::new());
                self.stack.push(Value::List(self.heap.lists.len() - 1));
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.extend_dictionary(&[key, value])?;
            }
            b'u' => {
                let values = self.pop_to_mark()?;
                self.extend_dictionary(&values)?;
            }
            b'a' => {
                let value = self.pop()?;
                self.extend_list(vec![value])?;
            }
            b'e' => {
                let values = self.pop_to_mark()?;
                self.extend_list(values)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.heap.persistent(id)?;
                self.stack.push(storage);
            }
            b'R' => {
                let arguments = self.pop()?;
                let function = self.pop()?;
                let value = self.heap.call(function, arguments)?;
                self.stack.push(value);
            }
            // Attributes of the dictionary (`_metadata`): nothing in them is needed.
            b'b' => match (self.pop()?, self.stack.last()) {
                (Value::Dictionary(_), Some(Value::Dictionary(_))) if !self.at_mark() => {}
                _ => return Err("attributes of something else than a dictionary"),
            },
            _ => return Err("an operation that a file of weights does not use"),
        }
        Ok(())
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], &'static str> {
        let end = self.at.checked_add(length).ok_or(CUT_OFF)?;
        let slice = self.bytes.get(self.at..end).ok_or(CUT_OFF)?;
        self.at = end;
        Ok(slice)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        self.slice(N)?.try_into().map_err(|_| CUT_OFF)
    }

    fn index(&mut self, short: bool) -> Result<u32, &'static str> {
        if short {
            let [index] = self.take()?;
            Ok(index.into())
        } else {
            Ok(u32::from_le_bytes(self.take()?))
        }
    }

    /// An integer of up to 8 bytes, little-endian, two's complement.
    fn long(&mut self) -> Result<(), &'static str> {
        let [length] = self.take()?;
        let digits = self.slice(length.into())?;
        if digits.len() > 8 {
            return Err("a number of more than 64 bits");
        }
        let negative = digits.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut whole = [if negative { 0xff } else { 0 }; 8];
        whole[..digits.len()].copy_from_slice(digits);
        self.stack.push(Value::Int(i64::from_le_bytes(whole)));
        Ok(())
    }

    fn global(&mut self) -> Result<(), &'static str> {
        let name = match (self.line()?, self.line()?) {
            (b"collections", b"OrderedDict") => Global::OrderedDict,
            (b"torch._utils", b"_rebuild_tensor_v2") => Global::RebuildTensor,
            (b"torch", b"FloatStorage") => Global::Storage(Element::Float),
            (b"torch", b"LongStorage") => Global::Storage(Element::Long),
            _ => return Err("names something that a file of weights does not need: not opened"),
        };
        self.stack.push(Value::Global(name));
        Ok(())
    }

    fn line(&mut self) -> Result<&'a [u8], &'static str> {
        let rest = self.bytes.get(self.at..).ok_or(CUT_OFF)?;
        let length = rest.iter().take(256).position(|byte| *byte == b'\n');
        let line = self.slice(length.ok_or(CUT_OFF)?)?;
        self.at += 1;
        Ok(line)
    }

    /// Whether the top of the stack belongs to what was before the last mark.
    fn at_mark(&self) -> bool {
        self.marks.last() == Some(&self.stack.len())
    }

    fn pop(&mut self) -> Result<Value<'a>, &'static str> {
        if self.at_mark() { Err(EMPTY) } else { self.stack.pop().ok_or(EMPTY) }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value<'a>>, &'static str> {
        let mark = self.marks.pop().ok_or(EMPTY)?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn tuple(&mut self, count: usize) -> Result<(), &'static str> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let start = self.stack.len().checked_sub(count).filter(|start| *start >= floor);
        let values = self.stack.split_off(start.ok_or(EMPTY)?);
        let tuple = self.heap.new_tuple(values);
        self.stack.push(tuple);
        Ok(())
    }

    fn extend_dictionary(&mut self, values: &[Value<'a>]) -> Result<(), &'static str> {
        let target = match self.stack.last() {
            Some(Value::Dictionary(id)) if !self.at_mark() => self.heap.dictionaries.get_mut(*id),
            _ => None,
        };
        let target = target.ok_or("entries of something else than a dictionary")?;
        if !values.len().is_multiple_of(2) {
            return Err("a key without a value");
        }
        target.extend(values.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        Ok(())
    }

    fn extend_list(&mut self, values: Vec<Value<'a>>) -> Result<(), &'static str> {
        let target = match self.stack.last() {
            Some(Value::List(id)) if !self.at_mark() => self.heap.lists.get_mut(*id),
            _ => None,
        };
        target.ok_or("entries of something else than a list")?.extend(values);
        Ok(())
    }
}
