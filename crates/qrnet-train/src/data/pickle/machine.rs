//! The pickle machine: one pass over the opcodes, a stack of ids, no recursion.

use std::collections::HashMap;

use super::{Fault, Global, Id, Node, Pickle, literal};

/// Most values in one pickle: 50 times what the largest published data set needs.
const MOST_NODES: usize = 1 << 25;

pub(super) fn run(bytes: &[u8]) -> Result<(Pickle, usize), Fault> {
    let nodes = vec![Node::None, Node::Bool(false), Node::Bool(true)];
    let mut machine =
        Machine { bytes, at: 0, nodes, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), encoded: 0 };
    let root = machine.run().map_err(|reason| format!("byte {}: {reason}", machine.at))?;
    Ok((Pickle { nodes: machine.nodes, root }, machine.at))
}

struct Machine<'a> {
    bytes: &'a [u8],
    /// Position of the next byte.
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack at each open mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Bytes made out of texts so far: one text may be named many times.
    encoded: usize,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Id, Fault> {
        loop {
            let [opcode] = *self.array()?;
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), Fault> {
        match opcode {
            0x80 => {
                let [version] = *self.array()?;
                if version > 5 {
                    return Err(format!("pickle protocol {version}, expected 0 to 5"));
                }
            }
            0x95 => drop(self.array::<8>()?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.group()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.stack.push(0),
            0x88 | 0x89 => self.stack.push(if opcode == 0x88 { 2 } else { 1 }),
            b'I' | b'L' | b'J' | b'K' | b'M' | 0x8a | 0x8b | b'F' | b'G' => return self.number(opcode),
            b'S' | b'T' | b'U' | b'B' | b'C' | 0x8e | 0x96 | b'V' | b'X' | 0x8c | 0x8d => return self.text(opcode),
            b'l' | b't' | b'd' | b']' | b')' | b'}' | 0x85 | 0x86 | 0x87 => return self.container(opcode),
            b'a' | b'e' | b's' | b'u' => return self.extend(opcode),
            b'g' | b'h' | b'j' => {
                let key = self.memo_key(opcode == b'g', opcode == b'h')?;
                let id = self.memo.get(&key).ok_or_else(|| format!("nothing was remembered as {key}"))?;
                self.stack.push(*id);
            }
            b'p' | b'q' | b'r' => {
                let key = self.memo_key(opcode == b'p', opcode == b'q')?;
                self.memo.insert(key, self.top()?);
            }
            0x94 => drop(self.memo.insert(self.memo.len() as u32, self.top()?)),
            b'c' | b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                let global = Global::named(&String::from_utf8_lossy(module), &String::from_utf8_lossy(name))?;
                if opcode == b'i' {
                    return Err(format!("an instance of {global:?} in protocol 0's way, expected data only"));
                }
                self.push(Node::Global(global))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Node::Text(module), Node::Text(name)) = (&self.nodes[module as usize], &self.nodes[name as usize])
                else {
                    return Err("a global whose name is no text".into());
                };
                let global = Global::named(module, name)?;
                self.push(Node::Global(global))?;
            }
            b'R' => return self.reduce(),
            b'b' => return self.build(),
            b'Q' => {
                let key = self.pop()?;
                self.push(Node::Persistent(key))?;
            }
            other => {
                return Err(format!("opcode {:?} (0x{other:02x}), expected one that holds data", char::from(other)));
            }
        }
        Ok(())
    }

    fn number(&mut self, opcode: u8) -> Result<(), Fault> {
        let node = match opcode {
            b'I' => match self.line()? {
                b"00" => Node::Bool(false),
                b"01" => Node::Bool(true),
                line => Node::Int(literal::integer(line)?),
            },
            b'L' => Node::Int(literal::long(self.line()?)?),
            b'J' => Node::Int(i32::from_le_bytes(*self.array()?).into()),
            b'K' => Node::Int(u8::from_le_bytes(*self.array()?).into()),
            b'M' => Node::Int(u16::from_le_bytes(*self.array()?).into()),
            b'F' => Node::Float(literal::float(self.line()?)?),
            b'G' => Node::Float(f64::from_be_bytes(*self.array()?)),
            _ => {
                let length = if opcode == 0x8a { self.length::<1>()? } else { self.length::<4>()? };
                let bytes = self.take(length)?;
                if bytes.len() > 16 {
                    return Err(format!("an integer of {} bytes, expected at most 16", bytes.len()));
                }
                let sign = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
                let mut wide = [sign; 16];
                wide[..bytes.len()].copy_from_slice(bytes);
                Node::Int(i128::from_le_bytes(wide))
            }
        };
        self.push(node)
    }

    fn text(&mut self, opcode: u8) -> Result<(), Fault> {
        let node = match opcode {
            b'S' => Node::Bytes(literal::string(self.line()?)?.into()),
            b'V' => Node::Text(literal::unicode(self.line()?)?.into()),
            _ => {
                let length = match opcode {
                    b'U' | b'C' | 0x8c => self.length::<1>()?,
                    b'T' | b'B' | b'X' => self.length::<4>()?,
                    _ => self.length::<8>()?,
                };
                let bytes = self.take(length)?;
                if matches!(opcode, b'X' | 0x8c | 0x8d) {
                    Node::Text(std::str::from_utf8(bytes).map_err(|e| format!("a text that is not UTF-8: {e}"))?.into())
                } else {
                    Node::Bytes(bytes.into())
                }
            }
        };
        self.push(node)
    }

    fn container(&mut self, opcode: u8) -> Result<(), Fault> {
        let node = match opcode {
            b']' => Node::List(Vec::new()),
            b'}' => Node::Dict(Vec::new()),
            b')' => Node::Tuple(Box::default()),
            b'l' => Node::List(self.group()?),
            b't' => Node::Tuple(self.group()?.into()),
            b'd' => Node::Dict(pairs(&self.group()?)?),
            _ => {
                let count = usize::from(opcode - 0x84);
                let mut items: Vec<Id> = (0..count).map(|_| self.pop()).collect::<Result<_, _>>()?;
                items.reverse();
                Node::Tuple(items.into())
            }
        };
        self.push(node)
    }

    /// Puts what is on the stack into the list or dict below it.
    fn extend(&mut self, opcode: u8) -> Result<(), Fault> {
        let items = match opcode {
            b'a' => vec![self.pop()?],
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                vec![key, value]
            }
            _ => self.group()?,
        };
        let top = self.top()? as usize;
        match (&mut self.nodes[top], opcode) {
            (Node::List(list), b'a' | b'e') => list.extend(items),
            (Node::Dict(dict), b's' | b'u') => dict.extend(pairs(&items)?),
            _ => return Err("items for what is neither a list nor a dict".into()),
        }
        Ok(())
    }

    fn reduce(&mut self) -> Result<(), Fault> {
        let (args, callable) = (self.pop()?, self.pop()?);
        let Node::Global(global) = self.nodes[callable as usize] else {
            return Err("a call of what is no function".into());
        };
        let Node::Tuple(items) = &self.nodes[args as usize] else {
            return Err(format!("a call of {global:?} without a tuple of arguments"));
        };
        let node = match (global, items.as_ref()) {
            (Global::OrderedDict, []) => Node::Dict(Vec::new()),
            (Global::OrderedDict, _) => return Err("an OrderedDict with arguments, expected none".into()),
            (Global::Encode, [text, ..]) => match &self.nodes[*text as usize] {
                Node::Text(text) => {
                    self.encoded += text.len();
                    if self.encoded > self.bytes.len() {
                        return Err("the same text is turned into bytes again and again".into());
                    }
                    Node::Bytes(encoded(text)?.into())
                }
                _ => return Err("bytes encoded from what is no text".into()),
            },
            _ => Node::Call { global, args, state: None },
        };
        self.push(node)
    }

    fn build(&mut self) -> Result<(), Fault> {
        let given = self.pop()?;
        let top = self.top()? as usize;
        match &mut self.nodes[top] {
            Node::Call { state: state @ None, .. } => *state = Some(given),
            // An OrderedDict's own attributes: nothing that a reader wants.
            Node::Dict(_) => {}
            _ => return Err("a state for what has none".into()),
        }
        Ok(())
    }

    fn memo_key(&mut self, line: bool, byte: bool) -> Result<u32, Fault> {
        if line {
            let key = literal::integer(self.line()?)?;
            return u32::try_from(key).map_err(|_| format!("memo {key}, expected 0 to {}", u32::MAX));
        }
        Ok(if byte { self.length::<1>()? } else { self.length::<4>()? } as u32)
    }

    fn push(&mut self, node: Node) -> Result<(), Fault> {
        if self.nodes.len() >= MOST_NODES {
            return Err(format!("more than {MOST_NODES} values in one pickle"));
        }
        self.stack.push(self.nodes.len() as Id);
        self.nodes.push(node);
        Ok(())
    }

    fn top(&self) -> Result<Id, Fault> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack.get(floor..).and_then(<[Id]>::last).copied().ok_or_else(|| "a value is missing".into())
    }

    fn pop(&mut self) -> Result<Id, Fault> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// Everything above the last mark, which goes too.
    fn group(&mut self) -> Result<Vec<Id>, Fault> {
        let mark = self.marks.pop().ok_or("the end of a group that never began")?;
        Ok(self.stack.split_off(mark))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let left = self.bytes.len() - self.at;
        let found = self.bytes.get(self.at..).and_then(|rest| rest.get(..length));
        let found = found.ok_or_else(|| format!("{length} bytes are announced and {left} are left (cut short?)"))?;
        self.at += length;
        Ok(found)
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Fault> {
        let bytes = self.take(N)?;
        bytes.first_chunk().ok_or_else(|| "cut short".into())
    }

    /// A length in `N` bytes, little-endian.
    fn length<const N: usize>(&mut self) -> Result<usize, Fault> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(self.array::<N>()?);
        usize::try_from(u64::from_le_bytes(wide)).map_err(|e| e.to_string())
    }

    /// The bytes up to the next end of line, which is passed over.
    fn line(&mut self) -> Result<&'a [u8], Fault> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|b| *b == b'\n').ok_or("a line without its end (cut short?)")?;
        self.at += end + 1;
        let line = &rest[..end];
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, Fault> {
    let (pairs, rest) = items.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|[k, v]| (*k, *v)).collect())
    } else {
        Err("a key without a value".into())
    }
}

/// The bytes whose Latin-1 text is given.
fn encoded(text: &str) -> Result<Vec<u8>, Fault> {
    text.chars().map(|c| u8::try_from(u32::from(c)).map_err(|_| format!("{c:?} is no byte"))).collect()
}
