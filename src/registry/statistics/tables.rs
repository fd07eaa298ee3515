//! A report's tables, with the words of Vietnam: what stands in them is the same in every form.

use super::figures::{Figures, Moneys, Standing};
use super::report::{Item, Report};
use crate::domain::{Category, Currency, Day};

pub(super) enum Cell {
    Text(String),
    Count(u128),
    /// A decimal that is written as it is.
    Decimal(String),
    Empty,
}

pub(super) struct Table {
    pub(super) title: &'static str,
    pub(super) columns: &'static [&'static str],
    pub(super) rows: Vec<Vec<Cell>>,
}

pub(super) fn tables(report: &Report) -> Vec<Table> {
    vec![
        Table { title: "Thông tin chung", columns: &["Mục", "Nội dung"], rows: about(report) },
        Table {
            title: "I. Kết quả cảnh báo",
            columns: &["Chỉ tiêu", "Số liệu", "Đơn vị tính"],
            rows: results(&report.total),
        },
        Table { title: "II. Cập nhật danh sách theo đơn vị", columns: &BY_UNIT, rows: by_unit(report) },
        Table { title: "III. Theo ngân hàng, trung gian thanh toán", columns: &BY_PARTY, rows: by_party(report) },
        Table { title: "IV. Theo phương thức, thủ đoạn", columns: &BY_CATEGORY, rows: by_category(report) },
        Table { title: "V. So sánh với kỳ trước", columns: &COMPARED, rows: compared(report) },
    ]
}

fn text(text: impl Into<String>) -> Cell {
    Cell::Text(text.into())
}

fn count(count: u64) -> Cell {
    Cell::Count(count.into())
}

fn optional(count: Option<u64>) -> Cell {
    count.map_or(Cell::Empty, |count| Cell::Count(count.into()))
}

fn vnd(money: &Moneys) -> Cell {
    Cell::Count(money.of(Currency::VND))
}

fn about(report: &Report) -> Vec<Vec<Cell>> {
    let line = |name: &str, value: String| vec![text(name), text(value)];
    let made_on = Day::of(report.made_at).in_vietnamese();
    let note = if report.finished {
        format!("Lập ngày {made_on}")
    } else {
        format!("Kỳ báo cáo chưa kết thúc; số liệu đến thời điểm lập báo cáo ngày {made_on}")
    };
    let mut rows = vec![
        line("Tên báo cáo", report.title.clone()),
        line("Kỳ báo cáo", report.period.in_vietnamese()),
        line("Từ ngày", report.from.in_vietnamese()),
        line("Đến ngày", report.to.in_vietnamese()),
        line("Đơn vị báo cáo", report.unit.name.clone()),
        line("Tình trạng", note),
        line("Cách tính ngày", "Theo giờ Việt Nam (UTC+7)".to_owned()),
    ];
    if report.total.checks.is_none() {
        rows.push(line("Phạm vi", "Chỉ gồm số liệu liên quan đến danh sách của đơn vị và cấp dưới".to_owned()));
    }
    rows
}

fn results(total: &Figures) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    let mut row = |name: &str, cell, unit: &str| rows.push(vec![text(name), cell, text(unit)]);
    row("Số lượt kiểm tra", optional(total.checks), "lượt");
    row("Số lượt trùng với danh sách", count(total.hits), "lượt");
    row("Số lượt đã hiển thị cảnh báo cho khách hàng", count(total.warnings_shown), "lượt");
    row("Số giao dịch khách hàng tự hủy sau cảnh báo", count(total.cancelled_by_customer), "giao dịch");
    row("Số giao dịch bị tạm giữ", count(total.held), "giao dịch");
    row("Số giao dịch bị từ chối", count(total.refused), "giao dịch");
    row("Số giao dịch vẫn hoàn thành", count(total.completed), "giao dịch");
    for (name, money) in [("Số tiền giữ lại được", &total.money_kept), ("Số tiền đang tạm giữ", &total.money_held)]
    {
        row(name, vnd(money), "VND");
        for (currency, units) in money.0.iter().filter(|(currency, _)| **currency != Currency::VND) {
            row(name, Cell::Decimal(currency.amount(*units)), currency.as_str());
        }
    }
    rows
}

const BY_UNIT: [&str; 14] = [
    "Mã đơn vị",
    "Đơn vị",
    "Đề xuất mới",
    "Phê duyệt",
    "Từ chối",
    "Gỡ bỏ",
    "Đính chính (do sai)",
    "Khiếu nại tiếp nhận",
    "Khiếu nại được chấp nhận",
    "Khiếu nại bị bác",
    "Đang hiệu lực (hiện nay)",
    "Chờ phê duyệt (hiện nay)",
    "Khiếu nại chưa trả lời (hiện nay)",
    "Khiếu nại quá hạn (hiện nay)",
];

fn by_unit(report: &Report) -> Vec<Vec<Cell>> {
    let row = |id: Cell, name: Cell, figures: &Figures, now: &Standing| {
        let counts = [
            figures.flags_raised,
            figures.flags_approved,
            figures.flags_rejected,
            figures.flags_lifted,
            figures.flags_corrected,
            figures.objections_filed,
            figures.objections_upheld,
            figures.objections_dismissed,
            now.flags_active,
            now.flags_proposed,
            now.objections_open,
            now.objections_overdue,
        ];
        [id, name].into_iter().chain(counts.map(count)).collect()
    };
    let none = Standing::default();
    let items = report.by_unit.iter();
    let items =
        items.map(|item| row(text(&item.key), text(named(item)), &item.figures, item.now.as_ref().unwrap_or(&none)));
    items.chain([row(Cell::Empty, text(TOTAL), &report.total, &report.now)]).collect()
}

const TOTAL: &str = "Tổng cộng";

fn named(item: &Item) -> String {
    item.name.clone().unwrap_or_else(|| item.key.clone())
}

const BY_PARTY: [&str; 11] = [
    "Mã",
    "Tổ chức",
    "Lượt kiểm tra",
    "Lượt trùng danh sách",
    "Đã hiển thị cảnh báo",
    "Khách hàng tự hủy",
    "Tạm giữ",
    "Từ chối",
    "Vẫn hoàn thành",
    "Số tiền giữ lại được (VND)",
    "Khiếu nại đã gửi",
];

fn by_party(report: &Report) -> Vec<Vec<Cell>> {
    let items = report.by_party.iter();
    let items = items.map(|item| {
        let figures = &item.figures;
        vec![
            text(&item.key),
            text(named(item)),
            optional(figures.checks),
            count(figures.hits),
            count(figures.warnings_shown),
            count(figures.cancelled_by_customer),
            count(figures.held),
            count(figures.refused),
            count(figures.completed),
            vnd(&figures.money_kept),
            count(figures.objections_filed),
        ]
    });
    items.collect()
}

const BY_CATEGORY: [&str; 9] = [
    "Phương thức, thủ đoạn",
    "Lượt trùng danh sách",
    "Đã hiển thị cảnh báo",
    "Khách hàng tự hủy",
    "Số tiền giữ lại được (VND)",
    "Đề xuất mới",
    "Phê duyệt",
    "Gỡ bỏ",
    "Đang hiệu lực (hiện nay)",
];

fn by_category(report: &Report) -> Vec<Vec<Cell>> {
    let items = report.by_category.iter();
    let items = items.map(|item| {
        let figures = &item.figures;
        vec![
            text(Category::parse(&item.key).map_or("", category)),
            count(figures.hits),
            count(figures.warnings_shown),
            count(figures.cancelled_by_customer),
            vnd(&figures.money_kept),
            count(figures.flags_raised),
            count(figures.flags_approved),
            count(figures.flags_lifted),
            count(item.now.as_ref().map_or(0, |now| now.flags_active)),
        ]
    });
    items.collect()
}

fn category(category: Category) -> &'static str {
    match category {
        Category::Mule => "Tài khoản trung gian nhận tiền",
        Category::Impersonation => "Giả danh cơ quan, cá nhân",
        Category::Investment => "Lừa đảo đầu tư",
        Category::Romance => "Lừa đảo tình cảm",
        Category::Job => "Lừa đảo việc làm",
        Category::Loan => "Lừa đảo cho vay",
        Category::ECommerce => "Lừa đảo mua bán trực tuyến",
        Category::AccountRental => "Thuê, mượn, mua bán tài khoản",
        Category::Malware => "Phần mềm độc hại",
        Category::Phishing => "Trang web, tin nhắn giả mạo",
        Category::Gambling => "Đánh bạc trực tuyến",
        Category::Other => "Khác",
    }
}

const COMPARED: [&str; 5] = ["Chỉ tiêu", "Đơn vị tính", "Kỳ này", "Kỳ trước", "Tăng, giảm (%)"];

fn compared(report: &Report) -> Vec<Vec<Cell>> {
    let lines = report.comparison.iter();
    let lines = lines.map(|line| {
        let number = |written: &str| written.parse().map_or_else(|_| Cell::Decimal(written.to_owned()), Cell::Count);
        vec![
            text(figure(line.figure)),
            line.currency.map_or(Cell::Empty, text),
            number(&line.now),
            number(&line.before),
            line.change_percent.clone().map_or(Cell::Empty, Cell::Decimal),
        ]
    });
    let title = vec![text(format!("Kỳ trước: {}", report.compared_with.in_vietnamese()))];
    std::iter::once(title).chain(lines).collect()
}

/// The names of figures in JSON, in the words of the report.
fn figure(name: &'static str) -> &'static str {
    match name {
        "checks" => "Lượt kiểm tra",
        "hits" => "Lượt trùng danh sách",
        "warnings_shown" => "Đã hiển thị cảnh báo",
        "cancelled_by_customer" => "Khách hàng tự hủy",
        "held" => "Giao dịch bị tạm giữ",
        "refused" => "Giao dịch bị từ chối",
        "completed" => "Giao dịch vẫn hoàn thành",
        "money_kept" => "Số tiền giữ lại được",
        "money_held" => "Số tiền đang tạm giữ",
        "flags_raised" => "Đề xuất mới",
        "flags_approved" => "Phê duyệt",
        "flags_rejected" => "Từ chối",
        "flags_lifted" => "Gỡ bỏ",
        "flags_corrected" => "Đính chính (do sai)",
        "objections_filed" => "Khiếu nại tiếp nhận",
        "objections_upheld" => "Khiếu nại được chấp nhận",
        "objections_dismissed" => "Khiếu nại bị bác",
        other => other,
    }
}
