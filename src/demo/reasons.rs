//! Reasons of generated flags, as officers write them and all different enough to be searched; always the same for the same flag.

use crate::domain::Category;

const PLACES: [&str; 16] = [
    "phường Hoàn Kiếm",
    "phường Đống Đa",
    "phường Ba Đình",
    "phường Cầu Giấy",
    "phường Hai Bà Trưng",
    "phường Thanh Xuân",
    "phường Tây Hồ",
    "phường Hà Đông",
    "phường Long Biên",
    "phường Hoàng Mai",
    "phường Sơn Tây",
    "xã Gia Lâm",
    "xã Sóc Sơn",
    "xã Thạch Thất",
    "xã Đông Anh",
    "xã Phú Xuyên",
];
const SIGNS: [&str; 8] = [
    "tiền vào từ nhiều người rồi chuyển đi ngay",
    "chủ tài khoản không có mặt tại nơi cư trú",
    "tài khoản được rao bán trên mạng xã hội",
    "một thiết bị dùng cho nhiều tài khoản",
    "người bị hại đã trình báo và nộp sao kê",
    "ngân hàng báo giao dịch bất thường lúc nửa đêm",
    "giấy tờ mở tài khoản không khớp dữ liệu dân cư",
    "liên quan đến đường dây ở nước ngoài",
];

pub(super) fn reason(i: u64, category: Category) -> String {
    let scheme = match category {
        Category::Mule => "Nhận và chuyển tiền hộ cho nhóm lừa đảo",
        Category::Impersonation => "Giả danh công an gọi điện, đòi chuyển tiền để phục vụ điều tra",
        Category::Investment => "Mời đầu tư chứng khoán và tiền ảo qua sàn giả",
        Category::Romance => "Kết bạn qua mạng, hứa hôn rồi đòi tiền nhận quà",
        Category::Job => "Tuyển cộng tác viên làm nhiệm vụ, bắt nạp tiền trước",
        Category::Loan => "Cho vay qua ứng dụng, thu phí trước khi giải ngân",
        Category::ECommerce => "Bán hàng trên mạng, nhận cọc rồi cắt liên lạc",
        Category::AccountRental => "Cho thuê tài khoản ngân hàng theo tháng",
        Category::Malware => "Cài ứng dụng dịch vụ công giả để chiếm quyền điện thoại",
        Category::Phishing => "Gửi tin nhắn mạo danh ngân hàng kèm đường dẫn giả",
        Category::Gambling => "Nhận tiền nạp cho trang đánh bạc",
        Category::Other => "Nghi vấn chưa rõ thủ đoạn",
    };
    // Steps without a common divisor, so that not the same ones come together.
    let place = pick(&PLACES, i / 7);
    let sign = pick(&SIGNS, i / 3);
    format!("{scheme}; {sign}. Người trình báo ở {place}, thiệt hại {} triệu đồng", i * 37 % 900 + 5)
}

fn pick(texts: &[&'static str], i: u64) -> &'static str {
    let place = usize::try_from(i).unwrap_or_default().checked_rem(texts.len()).unwrap_or_default();
    texts.get(place).copied().unwrap_or_default()
}
