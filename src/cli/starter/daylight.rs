//! Cuts solar power to the hours in which the sun is up on the days that a series was moved to.
//!
//! A July evening moved to November would have sun after sunset, which a server rightly refuses.

use std::collections::BTreeMap;

use crate::proto::v1;

/// Sine of half a degree: the panels give nothing below, and a server's own night lies lower.
const UP_SINE: f64 = 0.008_726_5;
/// Seconds between looks at the sun.
const LOOK_SECONDS: i64 = 450;
/// 2000-01-01T12:00:00Z, where the almanac's days begin.
const J2000_SECONDS: i64 = 946_728_000;

/// Where the solar supplies are.
#[derive(Debug)]
pub(super) struct Daylight {
    places: BTreeMap<String, (f64, f64)>,
}

impl Daylight {
    /// The solar supplies of sites.
    pub(super) fn of_sites(requests: &[v1::CreateSiteRequest]) -> Self {
        let mut places = BTreeMap::new();
        for site in requests.iter().filter_map(|request| request.site.as_ref()) {
            let latitude = f64::from(site.latitude_microdegrees) / 1e6;
            let longitude = f64::from(site.longitude_microdegrees) / 1e6;
            for supply in &site.supplies {
                if supply.kind() == v1::SupplyKind::Solar {
                    places.insert(supply.supply_id.clone(), (latitude, longitude));
                }
            }
        }
        Self { places }
    }

    /// Sets steps without sun to 0.
    pub(super) fn cut_forecast(&self, forecast: &mut v1::Forecast) {
        let (Some(&place), Some(start)) =
            (self.places.get(&forecast.supply_id), forecast.start_time)
        else {
            return;
        };
        for series in [
            &mut forecast.p10_watts,
            &mut forecast.p50_watts,
            &mut forecast.p90_watts,
        ] {
            cut(series, place, start.seconds, forecast.step_seconds);
        }
    }

    /// Sets slots without sun to 0.
    pub(super) fn cut_actuals(&self, request: &mut v1::PutActualsRequest, slot_seconds: u32) {
        if let (Some(&place), Some(start)) =
            (self.places.get(&request.supply_id), request.start_time)
        {
            cut(&mut request.watts, place, start.seconds, slot_seconds);
        }
    }
}

fn cut(watts: &mut [u64], place: (f64, f64), start: i64, step_seconds: u32) {
    let step = i64::from(step_seconds);
    for (idx, watts) in (0_i64..).zip(watts) {
        let begin = start + idx * step;
        let mut looks = (0..=step / LOOK_SECONDS).map(|look| begin + look * LOOK_SECONDS);
        if *watts > 0 && !looks.any(|time| sine_elevation(place, time) > UP_SINE) {
            *watts = 0;
        }
    }
}

/// Sine of the sun's height over a place (degrees north, degrees east).
///
/// Low-precision formulas of the Astronomical Almanac, good to a few hundredths of a degree in this century.
fn sine_elevation((latitude, longitude): (f64, f64), time: i64) -> f64 {
    let since = time - J2000_SECONDS;
    let whole = i32::try_from(since.div_euclid(86_400)).unwrap_or(0);
    let part = i32::try_from(since.rem_euclid(86_400)).unwrap_or(0);
    let days = f64::from(whole) + f64::from(part) / 86_400.0;
    let mean_longitude = 280.460 + 0.985_647_4 * days;
    let anomaly = (357.528 + 0.985_600_3 * days).to_radians();
    let ecliptic =
        (mean_longitude + 1.915 * anomaly.sin() + 0.020 * (2.0 * anomaly).sin()).to_radians();
    let obliquity = 23.439_f64.to_radians();
    let declination = (obliquity.sin() * ecliptic.sin()).asin();
    let ascension = (obliquity.cos() * ecliptic.sin()).atan2(ecliptic.cos());
    let sidereal = (280.460_62 + 360.985_647_37 * days + longitude).to_radians();
    let latitude = latitude.to_radians();
    latitude.sin() * declination.sin()
        + latitude.cos() * declination.cos() * (sidereal - ascension).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUNMING: (f64, f64) = (25.04, 102.71);

    fn at(time: &str) -> f64 {
        let time = time.parse::<jiff::Timestamp>().unwrap();
        sine_elevation(KUNMING, time.as_second())
            .asin()
            .to_degrees()
    }

    #[test]
    fn the_sun_stands_where_geometry_says() {
        // At noon of the solstices it stands 90 degrees minus latitude plus or minus the obliquity of 23.44 degrees.
        // Noon is 12:00 UTC minus 6 h 50 m 50 s for the longitude, corrected by the equation of time (+1 m 50 s late in
        // June, -1 m 50 s late in December, both within a tenth of a degree of height).
        assert!((at("2025-06-21T05:11:00Z") - (90.0 - 25.04 + 23.44)).abs() < 0.1);
        assert!((at("2025-12-21T05:07:00Z") - (90.0 - 25.04 - 23.44)).abs() < 0.1);
        // At the equinox it rises about six hours before noon.
        let sunrise = at("2025-03-20T23:16:00Z");
        assert!(sunrise.abs() < 1.0, "{sunrise}");
    }

    #[test]
    fn night_is_cut_and_day_stays() {
        let start = "2026-11-24T00:00:00+08:00"
            .parse::<jiff::Timestamp>()
            .unwrap();
        let mut watts = vec![5; 96];
        cut(&mut watts, KUNMING, start.as_second(), 900);
        assert_eq!(watts[48..52], [5; 4], "noon");
        assert_eq!(watts[0..28], [0; 28], "before 07:00");
        assert_eq!(watts[76..], [0; 20], "after 19:00");
    }
}
