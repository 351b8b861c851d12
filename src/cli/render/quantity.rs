//! Quantities with units that people read, rounded half up from the integers of the API.
//!
//! Only the display is rounded; nothing computes with these texts.

/// `value / divisor` with so many decimals.
fn scaled(value: u128, divisor: u128, decimals: u32) -> String {
    let scale = 10_u128.pow(decimals);
    let rounded = (value * scale + divisor / 2) / divisor;
    if decimals == 0 {
        return grouped(rounded);
    }
    let width = usize::try_from(decimals).unwrap_or(0);
    format!("{}.{:0width$}", grouped(rounded / scale), rounded % scale)
}

/// Digits in groups of three.
fn grouped(value: u128) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (idx, digit) in digits.chars().enumerate() {
        if idx > 0 && (digits.len() - idx).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Power in W, kW or MW.
pub(crate) fn watts(watts: u64) -> String {
    match watts {
        0..1_000 => format!("{watts} W"),
        1_000..1_000_000 => format!("{} kW", scaled(watts.into(), 1_000, 1)),
        _ => format!("{} MW", scaled(watts.into(), 1_000_000, 2)),
    }
}

/// Bandwidth in bit/s, kbit/s, Mbit/s or Gbit/s.
pub(crate) fn bits_per_second(rate: u64) -> String {
    let (divisor, unit) = match rate {
        0..1_000 => return format!("{rate} bit/s"),
        1_000..1_000_000 => (1_000, "kbit/s"),
        1_000_000..1_000_000_000 => (1_000_000, "Mbit/s"),
        _ => (1_000_000_000, "Gbit/s"),
    };
    format!("{} {unit}", scaled(rate.into(), divisor, 1))
}

/// Size in B, kB, MB, GB or TB.
pub(crate) fn bytes(bytes: u64) -> String {
    let (divisor, unit) = match bytes {
        0..1_000 => return format!("{bytes} B"),
        1_000..1_000_000 => (1_000, "kB"),
        1_000_000..1_000_000_000 => (1_000_000, "MB"),
        1_000_000_000..1_000_000_000_000 => (1_000_000_000, "GB"),
        _ => (1_000_000_000_000, "TB"),
    };
    format!("{} {unit}", scaled(bytes.into(), divisor, 1))
}

/// Energy in kWh.
pub(crate) fn kwh(watt_seconds: u128) -> String {
    scaled(watt_seconds, 3_600_000, 1)
}

/// Energy in kWh as the ledger tells it: to the watt-hour below 100 kWh.
pub(crate) fn ledger_kwh(watt_seconds: u64) -> String {
    let decimals = if watt_seconds < 360_000_000 { 3 } else { 1 };
    scaled(watt_seconds.into(), 3_600_000, decimals)
}

/// Carbon in grams.
pub(crate) fn grams(milligrams: u64) -> String {
    let decimals = if milligrams < 10_000 { 1 } else { 0 };
    scaled(milligrams.into(), 1_000, decimals)
}

/// Carbon in g, kg or t of CO2e.
pub(crate) fn co2e(milligrams: u64) -> String {
    match milligrams {
        0..1_000_000 => format!("{} g", scaled(milligrams.into(), 1_000, 1)),
        1_000_000..1_000_000_000 => format!("{} kg", scaled(milligrams.into(), 1_000_000, 1)),
        _ => format!("{} t", scaled(milligrams.into(), 1_000_000_000, 2)),
    }
}

/// Water in litres.
pub(crate) fn litres(millilitres: u64) -> String {
    scaled(millilitres.into(), 1_000, 1)
}

/// Time that something ran, in hours.
pub(crate) fn hours(milliseconds: u64) -> String {
    scaled(milliseconds.into(), 3_600_000, 1)
}

/// Money in CNY.
pub(crate) fn cny(micro: u64) -> String {
    scaled(micro.into(), 1_000_000, 2)
}

/// Thousandths as per cent.
pub(crate) fn permille(permille: u32) -> String {
    format!("{} %", scaled(permille.into(), 10, 1))
}

/// Microseconds as milliseconds, or `-` for 0, which means not known.
pub(crate) fn millis(microseconds: u32) -> String {
    if microseconds == 0 {
        return "-".to_owned();
    }
    format!("{} ms", scaled(microseconds.into(), 1_000, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_rounded_half_up_and_grouped() {
        assert_eq!(watts(999), "999 W");
        assert_eq!(watts(12_340), "12.3 kW");
        assert_eq!(watts(60_000_000), "60.00 MW");
        assert_eq!(bits_per_second(999), "999 bit/s");
        assert_eq!(bits_per_second(2_550_000), "2.6 Mbit/s");
        assert_eq!(bits_per_second(400_000_000_000), "400.0 Gbit/s");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(50_000_000_000), "50.0 GB");
        assert_eq!(bytes(1_500_000_000_000), "1.5 TB");
        assert_eq!(kwh(3_600_000 * 1_234_567), "1 234 567.0");
        assert_eq!(kwh(180_000), "0.1");
        assert_eq!(grams(1_250), "1.3");
        assert_eq!(grams(1_250_500), "1 251");
        assert_eq!(ledger_kwh(180_000), "0.050");
        assert_eq!(ledger_kwh(359_999_999), "100.000");
        assert_eq!(ledger_kwh(360_000_000), "100.0");
        assert_eq!(co2e(999_949), "999.9 g");
        assert_eq!(co2e(1_250_000), "1.3 kg");
        assert_eq!(co2e(1_234_567_890_000), "1 234.57 t");
        assert_eq!(litres(1_850), "1.9");
        assert_eq!(hours(5_400_000), "1.5");
        assert_eq!(cny(12_345_678), "12.35");
        assert_eq!(permille(873), "87.3 %");
        assert_eq!(millis(21_900), "21.9 ms");
        assert_eq!(millis(0), "-");
    }
}
