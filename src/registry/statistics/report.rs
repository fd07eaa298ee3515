//! The report of a period, as the plan of the city asks for it each quarter, half-year and year.

use super::figures::{By, Figures, Moneys, Standing};
use super::tables::tables;
use super::{Summed, render};
use crate::domain::party::{PartyId, Role};
use crate::domain::{Category, Currency, Day, LogPositions, Period, Timestamp};
use crate::log::Act;
use crate::registry::{Answered, Call, Error, Registry, render as to_json};
use serde::Serialize;

/// How a report is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportForm {
    Json,
    Csv,
    Xlsx,
}

impl ReportForm {
    fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Xlsx => "xlsx",
        }
    }
}

#[derive(Serialize)]
pub(super) struct Report {
    pub(super) period: Period,
    pub(super) title: String,
    pub(super) from: Day,
    pub(super) to: Day,
    /// Whether the period was over when it was made.
    pub(super) finished: bool,
    pub(super) made_at: Timestamp,
    pub(super) unit: Named,
    pub(super) total: Figures,
    pub(super) now: Standing,
    pub(super) by_unit: Vec<Item>,
    pub(super) by_party: Vec<Item>,
    pub(super) by_category: Vec<Item>,
    pub(super) compared_with: Period,
    pub(super) comparison: Vec<Compared>,
    counted_from: LogPositions,
    counted_up_to: LogPositions,
}

#[derive(Serialize)]
pub(super) struct Named {
    pub(super) id: PartyId,
    pub(super) name: String,
}

#[derive(Serialize)]
pub(super) struct Item {
    pub(super) key: String,
    pub(super) name: Option<String>,
    #[serde(flatten)]
    pub(super) figures: Figures,
    pub(super) now: Option<Standing>,
}

/// One figure of this period and of the one before.
#[derive(Serialize)]
pub(super) struct Compared {
    pub(super) figure: &'static str,
    /// For what is no number of things.
    pub(super) currency: Option<&'static str>,
    pub(super) before: String,
    pub(super) now: String,
    /// By how many percent it grew; nothing can be told of growth from nothing.
    pub(super) change_percent: Option<String>,
}

impl Registry {
    pub async fn report_statistics(&self, call: &Call, period: Period, form: ReportForm) -> Result<Answered, Error> {
        let sight = self.sight(call);
        let by = vec![By::Unit, By::Party, By::Category];
        let summed = self.sum(period.days(), &sight, by).await?;
        let before = self.sum(period.before().days(), &sight, Vec::new()).await?;
        let stand = self.stand(call.at, sight.clone()).await?;
        let item =
            |by, key: String, name| Item { figures: summed.summing.of(by, &key), now: stand.of(by, &key), name, key };
        let all = self.access.parties(None, usize::MAX);
        let of_roles = |by, roles: &[Role]| -> Vec<Item> {
            let named = all.iter().filter(|party| roles.contains(&party.role));
            let seen = named.filter(|party| by == By::Party || sight.sees_unit(Some(&party.id)));
            seen.map(|party| item(by, party.id.to_string(), Some(party.name.clone()))).collect()
        };
        let own = &call.actor.party;
        let report = Report {
            period,
            title: format!("{TITLE} – {}", period.in_vietnamese()),
            from: period.days().from(),
            to: period.days().to(),
            finished: period.has_ended(call.at),
            made_at: call.at,
            unit: Named { id: own.clone(), name: self.name(By::Party, own.as_str()).unwrap_or_default() },
            by_unit: of_roles(By::Unit, &[Role::Police]),
            by_party: of_roles(By::Party, &[Role::Bank, Role::PaymentIntermediary]),
            by_category: Category::ALL
                .into_iter()
                .map(|key| item(By::Category, key.as_str().to_owned(), None))
                .collect(),
            compared_with: period.before(),
            comparison: compare(&before, &summed),
            now: stand.total.clone(),
            total: summed.summing.total.clone(),
            counted_from: summed.counted_from.clone(),
            counted_up_to: summed.counted_up_to.clone(),
        };
        let body = match form {
            ReportForm::Json => to_json(&report)?,
            ReportForm::Csv => render::csv(&tables(&report))?,
            ReportForm::Xlsx => render::xlsx(&report.title, &tables(&report), call.at)?,
        };
        let mut entry = self.entry(Act::StatisticsReport, call);
        entry.reference = Some(format!("period={period}&form={}", form.as_str()));
        self.answer_reading(entry, body).await
    }
}

const TITLE: &str = "Báo cáo kết quả cảnh báo tài khoản thanh toán, ví điện tử nghi vấn lừa đảo (Kế hoạch 224/KH-UBND)";

fn compare(before: &Summed, now: &Summed) -> Vec<Compared> {
    let (before, now) = (&before.summing.total, &now.summing.total);
    let count = |figure, of: fn(&Figures) -> u64| Compared::new(figure, None, of(before).into(), of(now).into());
    let money = |figure, of: fn(&Figures) -> &Moneys| {
        let units = |figures| of(figures).of(Currency::VND);
        Compared::new(figure, Some(Currency::VND), units(before), units(now))
    };
    let checks = now.checks.map(|_| count("checks", |figures| figures.checks.unwrap_or_default()));
    checks
        .into_iter()
        .chain([
            count("hits", |figures| figures.hits),
            count("warnings_shown", |figures| figures.warnings_shown),
            count("cancelled_by_customer", |figures| figures.cancelled_by_customer),
            count("held", |figures| figures.held),
            count("refused", |figures| figures.refused),
            count("completed", |figures| figures.completed),
            money("money_kept", |figures| &figures.money_kept),
            money("money_held", |figures| &figures.money_held),
            count("flags_raised", |figures| figures.flags_raised),
            count("flags_approved", |figures| figures.flags_approved),
            count("flags_rejected", |figures| figures.flags_rejected),
            count("flags_lifted", |figures| figures.flags_lifted),
            count("flags_corrected", |figures| figures.flags_corrected),
            count("objections_filed", |figures| figures.objections_filed),
            count("objections_upheld", |figures| figures.objections_upheld),
            count("objections_dismissed", |figures| figures.objections_dismissed),
        ])
        .collect()
}

impl Compared {
    fn new(figure: &'static str, currency: Option<Currency>, before: u128, now: u128) -> Self {
        let written = |units: u128| currency.map_or_else(|| units.to_string(), |currency| currency.amount(units));
        Self {
            figure,
            currency: currency.map(Currency::as_str),
            before: written(before),
            now: written(now),
            change_percent: change_percent(before, now),
        }
    }
}

/// With one decimal, rounded away from zero at the half.
fn change_percent(before: u128, now: u128) -> Option<String> {
    let thousandths = now.abs_diff(before).checked_mul(1000)?;
    let rounded = thousandths.checked_add(before / 2)?.checked_div(before)?;
    let sign = if now < before && rounded > 0 { "-" } else { "" };
    Some(format!("{sign}{}.{}", rounded / 10, rounded % 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_in_percent_with_one_decimal() {
        let change = |before, now| change_percent(before, now);
        assert_eq!(change(100, 150).as_deref(), Some("50.0"));
        assert_eq!(change(150, 100).as_deref(), Some("-33.3"));
        assert_eq!(change(2000, 2001).as_deref(), Some("0.1"));
        assert_eq!(change(7, 7).as_deref(), Some("0.0"));
        assert_eq!(change(100_000, 99_999).as_deref(), Some("0.0"));
        assert_eq!(change(5, 0).as_deref(), Some("-100.0"));
        assert_eq!(change(0, 5), None);
        assert_eq!(change(0, 0), None);
    }
}
