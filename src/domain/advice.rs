//! What a bank can do and show for an answer: actions by verdict and context, and short texts by category. A flag is a
//! suspicion and not a conviction, so the texts accuse nobody; the bank decides.

use super::{Category, Verdict};
use serde::{Deserialize, Serialize};

/// What the customer is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Context {
    Transfer,
    AccountOpening,
    IdentityChange,
    PhoneChange,
    DeviceChange,
    CashWithdrawal,
}

impl Context {
    pub const ALL: [Self; 6] = [
        Self::Transfer,
        Self::AccountOpening,
        Self::IdentityChange,
        Self::PhoneChange,
        Self::DeviceChange,
        Self::CashWithdrawal,
    ];

    /// Plan 224/KH-UBND III.9: biometric comparison when an account is opened, when papers, phone or device change, and
    /// for cash at the counter.
    fn wants_step_up(self) -> bool {
        match self {
            Self::Transfer => false,
            Self::AccountOpening
            | Self::IdentityChange
            | Self::PhoneChange
            | Self::DeviceChange
            | Self::CashWithdrawal => true,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    ShowWarning,
    StepUpAuthentication,
    HoldTransaction,
    RefuseTransaction,
    ContactPolice,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    pub actions: Vec<Action>,
    /// To be shown to the customer as it stands.
    pub vi: String,
    pub en: String,
}

impl Advice {
    /// `None` for `clear`: there is nothing to say.
    pub fn for_answer(verdict: Verdict, category: Category, context: Context) -> Option<Self> {
        let (mut actions, (lead_vi, lead_en)) = match verdict {
            Verdict::Clear => return None,
            Verdict::Warn => (vec![Action::ShowWarning], lead_of_warning(context)),
            Verdict::Hold => (vec![Action::ShowWarning, Action::HoldTransaction], lead_of_hold(context)),
            Verdict::Block => (vec![Action::RefuseTransaction, Action::ContactPolice], lead_of_block(context)),
        };
        if context.wants_step_up() {
            actions.insert(1, Action::StepUpAuthentication);
        }
        let (scheme_vi, scheme_en) = scheme(category);
        Some(Self { actions, vi: format!("{lead_vi} {scheme_vi}"), en: format!("{lead_en} {scheme_en}") })
    }
}

type Text = (&'static str, &'static str);

fn lead_of_warning(context: Context) -> Text {
    match context {
        Context::Transfer | Context::CashWithdrawal => (
            "Thông tin người nhận trùng với danh sách cảnh báo của cơ quan công an. Bạn nên kiểm tra kỹ trước khi tiếp tục.",
            "Details of this transaction are on a police warning list. Please check carefully before you continue.",
        ),
        Context::AccountOpening | Context::IdentityChange | Context::PhoneChange | Context::DeviceChange => (
            "Thông tin trong yêu cầu này trùng với danh sách cảnh báo của cơ quan công an. Ngân hàng cần xác minh thêm.",
            "Details of this request are on a police warning list. The bank needs to verify them further.",
        ),
    }
}

fn lead_of_hold(context: Context) -> Text {
    match context {
        Context::Transfer | Context::CashWithdrawal => (
            "Giao dịch này cần được tạm dừng để kiểm tra vì có dấu hiệu rủi ro. Tiền của bạn chưa được chuyển đi.",
            "This transaction needs to be paused for a check because of signs of risk. Your money has not been sent.",
        ),
        Context::AccountOpening | Context::IdentityChange | Context::PhoneChange | Context::DeviceChange => (
            "Yêu cầu này cần được tạm dừng để kiểm tra vì có dấu hiệu rủi ro.",
            "This request needs to be paused for a check because of signs of risk.",
        ),
    }
}

fn lead_of_block(context: Context) -> Text {
    match context {
        Context::Transfer | Context::CashWithdrawal => (
            "Ngân hàng chưa thể thực hiện giao dịch này theo thông báo của cơ quan công an. Tiền của bạn chưa được chuyển đi.",
            "The bank cannot carry out this transaction, following a police notice. Your money has not been sent.",
        ),
        Context::AccountOpening | Context::IdentityChange | Context::PhoneChange | Context::DeviceChange => (
            "Ngân hàng chưa thể thực hiện yêu cầu này theo thông báo của cơ quan công an. Vui lòng liên hệ ngân hàng.",
            "The bank cannot carry out this request, following a police notice. Please contact your bank.",
        ),
    }
}

fn scheme(category: Category) -> Text {
    match category {
        Category::Mule => (
            "Tài khoản có thể đang được dùng để nhận tiền hộ người khác.",
            "The account may be used to receive money on behalf of others.",
        ),
        Category::Impersonation => (
            "Công an, tòa án và ngân hàng không yêu cầu chuyển tiền qua điện thoại. Hãy gọi lại số chính thức.",
            "Police, courts and banks never ask for transfers by phone. Call back on the official number.",
        ),
        Category::Investment => (
            "Hãy cẩn trọng với lời mời đầu tư lãi cao, cam kết không rủi ro.",
            "Be careful with investments that promise high returns without risk.",
        ),
        Category::Romance => (
            "Hãy cẩn trọng khi chuyển tiền cho người bạn chỉ quen qua mạng.",
            "Be careful when sending money to somebody you know only online.",
        ),
        Category::Job => (
            "Không nộp tiền trước để nhận việc hoặc làm nhiệm vụ trên mạng.",
            "Do not pay in advance to get a job or to do tasks online.",
        ),
        Category::Loan => {
            ("Không nộp phí trước để được giải ngân khoản vay.", "Do not pay a fee in advance to receive a loan.")
        }
        Category::ECommerce => (
            "Hãy kiểm tra người bán và chỉ trả tiền qua kênh chính thức của sàn.",
            "Check the seller, and pay only through the official channel of the marketplace.",
        ),
        Category::AccountRental => {
            ("Không mua bán, cho thuê hoặc cho mượn tài khoản.", "Do not buy, sell, rent out or lend accounts.")
        }
        Category::Malware => (
            "Không cài ứng dụng từ đường dẫn lạ và không chia sẻ màn hình điện thoại.",
            "Do not install apps from unknown links, and do not share your phone's screen.",
        ),
        Category::Phishing => (
            "Không nhập mật khẩu hoặc mã OTP vào đường dẫn lạ.",
            "Do not enter passwords or one-time codes on unknown links.",
        ),
        Category::Gambling => (
            "Hãy cẩn trọng với giao dịch liên quan đến cá cược trên mạng.",
            "Be careful with transactions related to online betting.",
        ),
        Category::Other => (
            "Nếu ai đó đang thúc giục bạn, hãy dừng lại và hỏi người thân hoặc ngân hàng.",
            "If somebody is rushing you, stop and ask your family or your bank.",
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn every_advice() -> impl Iterator<Item = (Verdict, Context, Advice)> {
        [Verdict::Warn, Verdict::Hold, Verdict::Block].into_iter().flat_map(|verdict| {
            Context::ALL.into_iter().flat_map(move |context| {
                Category::ALL
                    .into_iter()
                    .map(move |category| (verdict, context, Advice::for_answer(verdict, category, context).unwrap()))
            })
        })
    }

    #[test]
    fn clear_has_no_advice() {
        for context in Context::ALL {
            assert_eq!(Advice::for_answer(Verdict::Clear, Category::Other, context), None);
        }
    }

    #[test]
    fn sensitive_contexts_ask_for_a_step_up_from_warn_on() {
        for (_, context, advice) in every_advice() {
            assert_eq!(advice.actions.contains(&Action::StepUpAuthentication), context != Context::Transfer);
        }
    }

    #[test]
    fn texts_fit_a_phone_s_screen_and_accuse_nobody() {
        for (_, _, advice) in every_advice() {
            for text in [&advice.vi, &advice.en] {
                assert!(text.chars().count() <= 240, "{text}");
                for word in ["criminal", "fraudster", "scammer", "thief", "tội phạm", "kẻ gian", "kẻ lừa đảo"]
                {
                    assert!(!text.to_lowercase().contains(word), "{text}");
                }
            }
        }
    }

    #[test]
    fn only_a_block_refuses_and_only_a_hold_holds() {
        for (verdict, _, advice) in every_advice() {
            assert_eq!(advice.actions.contains(&Action::RefuseTransaction), verdict == Verdict::Block);
            assert_eq!(advice.actions.contains(&Action::HoldTransaction), verdict == Verdict::Hold);
        }
    }
}
