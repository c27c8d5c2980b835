//! Pictures in a terminal, by the protocols of kitty and iTerm2 and as sixels.

#[cfg(unix)]
use std::fs::{File, OpenOptions};
use std::io::{self, Write};

use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::ValueEnum;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use pagesight::model::PageImage;

use super::terminal::Terminal;

/// Width of a picture beside a hit, px.
pub const WIDTH_PX: u32 = 240;

/// How pictures are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImageChoice {
    /// As the terminal answers that it can; not at all where it does not answer.
    Auto,
    /// The protocol of kitty.
    Kitty,
    /// The protocol of iTerm2.
    Iterm,
    /// Sixels.
    Sixel,
    /// Not at all.
    Off,
}

impl ImageChoice {
    /// What is drawn on this terminal; `None` for nothing.
    pub fn resolve(self, terminal: &Terminal) -> Option<Self> {
        match self {
            Self::Off => None,
            Self::Auto if terminal.colour || terminal.links => ask(),
            Self::Auto => None,
            chosen => Some(chosen),
        }
    }

    /// Writes `image` at the cursor, on lines of its own.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write(self, image: &PageImage, out: &mut impl Write) -> Result<()> {
        match self {
            Self::Kitty => kitty(image, out)?,
            Self::Iterm => iterm(image, out)?,
            Self::Sixel => sixel(image, out)?,
            Self::Auto | Self::Off => return Ok(()),
        }
        Ok(writeln!(out)?)
    }
}

/// Asks the terminal what it can draw, and waits for a third of a second.
#[cfg(unix)]
fn ask() -> Option<ImageChoice> {
    use rustix::termios::{OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
    let mut tty = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
    let before = tcgetattr(&tty).ok()?;
    let mut raw = before.clone();
    raw.make_raw();
    raw.special_codes[SpecialCodeIndex::VMIN] = 0;
    raw.special_codes[SpecialCodeIndex::VTIME] = 3;
    tcsetattr(&tty, OptionalActions::Now, &raw).ok()?;
    let answer = exchange(&mut tty);
    let _ = tcsetattr(&tty, OptionalActions::Now, &before);
    read(&answer.ok()?)
}

#[cfg(not(unix))]
fn ask() -> Option<ImageChoice> {
    None
}

/// A picture that is only tried, the size of a cell, and what the terminal is: every terminal answers
/// the last one, so nothing is waited for after it.
#[cfg(unix)]
fn exchange(tty: &mut File) -> io::Result<Vec<u8>> {
    use std::io::Read;
    tty.write_all(b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\")?;
    tty.write_all(b"\x1b]1337;ReportCellSize\x1b\\\x1b[c")?;
    tty.flush()?;
    let (mut answer, mut part) = (Vec::new(), [0; 256]);
    loop {
        let count = tty.read(&mut part)?;
        answer.extend_from_slice(&part[..count]);
        if count == 0 || answer.len() > 4096 || device(&answer).is_some() {
            return Ok(answer);
        }
    }
}

/// What the terminal says that it is: the numbers of `ESC [ ? ... c`.
fn device(answer: &[u8]) -> Option<Vec<u32>> {
    let text = String::from_utf8_lossy(answer);
    let (_, rest) = text.split_once("\x1b[?")?;
    let (numbers, _) = rest.split_once('c')?;
    Some(numbers.split(';').filter_map(|number| number.parse().ok()).collect())
}

/// What the terminal's answer means.
fn read(answer: &[u8]) -> Option<ImageChoice> {
    let text = String::from_utf8_lossy(answer);
    if text.contains("\x1b_Gi=31;OK") {
        return Some(ImageChoice::Kitty);
    }
    if text.contains("\x1b]1337;ReportCellSize=") {
        return Some(ImageChoice::Iterm);
    }
    device(answer).filter(|numbers| numbers.contains(&4)).map(|_| ImageChoice::Sixel)
}

fn kitty(image: &PageImage, out: &mut impl Write) -> io::Result<()> {
    let data = BASE64_STANDARD.encode(image.rgb());
    let (width, height) = (image.width_px(), image.height_px());
    let mut rest = data.as_str();
    let mut head = format!("a=T,f=24,s={width},v={height},q=2,");
    while !rest.is_empty() {
        let (part, after) = rest.split_at(rest.len().min(4096));
        let more = u8::from(!after.is_empty());
        write!(out, "\x1b_G{head}m={more};{part}\x1b\\")?;
        (rest, head) = (after, String::new());
    }
    Ok(())
}

fn iterm(image: &PageImage, out: &mut impl Write) -> Result<()> {
    let (width, height) = (image.width_px(), image.height_px());
    let mut png = Vec::new();
    PngEncoder::new(&mut png).write_image(image.rgb(), width, height, ExtendedColorType::Rgb8)?;
    let size = png.len();
    let data = BASE64_STANDARD.encode(&png);
    Ok(write!(
        out,
        "\x1b]1337;File=inline=1;size={size};width={width}px;height={height}px:{data}\x07"
    )?)
}

/// Six rows of pixels at a time, in the colours of a cube of six by six by six.
fn sixel(image: &PageImage, out: &mut impl Write) -> io::Result<()> {
    let (width, height) = (image.width_px() as usize, image.height_px() as usize);
    let colour = |pixel: &[u8]| -> usize {
        let step = |value: u8| (usize::from(value) * 5 + 127) / 255;
        step(pixel[0]) * 36 + step(pixel[1]) * 6 + step(pixel[2])
    };
    let pixels: Vec<usize> = image.rgb().chunks_exact(3).map(colour).collect();
    write!(out, "\x1bPq\"1;1;{width};{height}")?;
    for number in 0..216 {
        let (red, green, blue) = (number / 36 * 20, number / 6 % 6 * 20, number % 6 * 20);
        write!(out, "#{number};2;{red};{green};{blue}")?;
    }
    for top in (0..height).step_by(6) {
        let rows = (height - top).min(6);
        let mut used: Vec<usize> = pixels[top * width..(top + rows) * width].to_vec();
        used.sort_unstable();
        used.dedup();
        for (n, number) in used.iter().enumerate() {
            if n > 0 {
                out.write_all(b"$")?;
            }
            write!(out, "#{number}")?;
            let bits = |x: usize| {
                let lit = (0..rows).filter(|row| pixels[(top + row) * width + x] == *number);
                lit.map(|row| 1u8 << row).sum::<u8>()
            };
            let mut x = 0;
            while x < width {
                let this = bits(x);
                let run = (x..width).take_while(|&x| bits(x) == this).count();
                let letter = char::from(63 + this);
                if run > 3 {
                    write!(out, "!{run}{letter}")?;
                } else {
                    (0..run).try_for_each(|_| write!(out, "{letter}"))?;
                }
                x += run;
            }
        }
        out.write_all(b"-")?;
    }
    out.write_all(b"\x1b\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_believed_when_it_answers() {
        for (answer, expected) in [
            (&b"\x1b_Gi=31;OK\x1b\\\x1b[?62;c"[..], Some(ImageChoice::Kitty)),
            (b"\x1b]1337;ReportCellSize=17.0;8.0\x1b\\\x1b[?65;c", Some(ImageChoice::Iterm)),
            (b"\x1b[?62;4;22c", Some(ImageChoice::Sixel)),
            (b"\x1b[?62;22c", None),
            (b"", None),
        ] {
            assert_eq!(read(answer), expected, "{}", String::from_utf8_lossy(answer));
        }
    }

    #[test]
    fn pictures_are_written_whole() {
        let rgb = [[255, 0, 0], [0, 0, 255]].concat().repeat(4);
        let image = PageImage::new(2, 4, rgb.clone()).unwrap();
        let written = |choice: ImageChoice| {
            let mut out = Vec::new();
            choice.write(&image, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let kitty = written(ImageChoice::Kitty);
        let data = kitty.split(';').nth(1).unwrap().split('\x1b').next().unwrap();
        assert_eq!(BASE64_STANDARD.decode(data).unwrap(), rgb);
        assert!(kitty.starts_with("\x1b_Ga=T,f=24,s=2,v=4,q=2,m=0;"));
        assert!(written(ImageChoice::Iterm).contains("width=2px;height=4px:"));
        // A red and a blue column of four pixels: the lower four bits of each.
        let sixel = written(ImageChoice::Sixel);
        assert!(sixel.contains("#5?N$#180N?-"), "{sixel:?}");
        assert_eq!(written(ImageChoice::Off), "");
    }
}
