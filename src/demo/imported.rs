//! A small file of flags that an officer handed in and that waits for the supervisor's decision, taken as any other file is.

use super::{DemoError, actor, random};
use crate::domain::RequestId;
use crate::domain::import::{Defaults, ImportForm};
use crate::registry::{Call, Error, IdempotencyKey, NewImport, Registry};

/// Two rows are not taken: one has a formula, one stands there twice.
const FILE: &str = "\
Ngân hàng,Số tài khoản,Mức độ,Phân loại,Vụ việc,Lý do
VCB,9000000000111,warn,mule,DEMO-111,Nhận tiền từ nhiều người và chuyển đi ngay
VCB,9000000000112,warn,mule,DEMO-111,Nhận tiền từ nhiều người và chuyển đi ngay
970415,9000000000113,hold,investment,DEMO-111,Kêu gọi đầu tư
VCB,=1+1,warn,mule,DEMO-111,Công thức
VCB,9000000000111,warn,mule,DEMO-111,Hai lần
";

pub(super) async fn import(registry: &'static Registry) -> Result<(), DemoError> {
    let failed = |error: Error| DemoError::Seed(format!("{error:?}"));
    let at = registry.now();
    let call = Call { request_id: RequestId::mint(at, random()?), at, actor: actor("hanoi-police", "demo-officer")? };
    let mut upload = registry.begin_upload(&call).await.map_err(failed)?;
    upload.write(FILE.as_bytes()).map_err(failed)?;
    let key = super::known(IdempotencyKey::of_digest(b"demo", upload.digest()))?;
    let new = NewImport { dry_run: false, form: ImportForm::Csv, charset: None, defaults: Defaults::default() };
    registry.receive_import(&call, key, new, upload).await.map_err(failed)?;
    let worked = tokio::task::spawn_blocking(|| registry.work_off_imports()).await;
    worked.map_err(|error| DemoError::Seed(error.to_string()))?.map_err(failed)
}
