//! The way out of errors. The library says what is wrong; which flag or verb helps is said here.

use pagesight::Error;
use pagesight::index::{AddError, Failure, FailureKind, IndexError, StoreError};
use pagesight::pdf::{OcrError, PdfError, StartError};

const NEW_INDEX: &str = "vectors of two models cannot be compared: another model needs a new index, \
    `pagesight --index NEW index --model MODEL FOLDER`";
const PDFIUM: &str = "pip install pypdfium2 and activate its environment, or put libpdfium beside the \
    program, or name it with --pdfium FILE";
const WEIGHTS: &str = "pip install rapidocr and activate its environment, or name the folder of the \
    weights with --ocr-weights DIR";

/// What helps against the error, if anything is known to.
pub fn of(error: &anyhow::Error) -> Option<&'static str> {
    error.chain().find_map(|cause| match cause.downcast_ref::<Error>() {
        Some(error) => of_library(error),
        None => cause.downcast_ref().and_then(of_io),
    })
}

fn of_io(error: &std::io::Error) -> Option<&'static str> {
    // A port is the one address that we ask for.
    (error.kind() == std::io::ErrorKind::AddrInUse).then_some(
        "another program has the port, perhaps another server of pages: stop it, or name \
                    another port with --bind 127.0.0.1:8732",
    )
}

fn of_library(error: &Error) -> Option<&'static str> {
    match error {
        Error::Store(error) => of_store(error),
        Error::Index(IndexError::Store(error)) => {
            error.downcast_ref::<StoreError>().and_then(of_store)
        }
        Error::Add(AddError::Store(error)) => error.downcast_ref::<StoreError>().and_then(of_store),
        Error::Pdf(error) => of_start(error),
        Error::Ocr(OcrError::NoWeights { .. }) => Some(WEIGHTS),
        Error::Ocr(OcrError::WrongWeights { .. } | OcrError::ReadWeights { .. }) => {
            Some("fetch them again, or go on without them with --ocr tesseract or --ocr off")
        }
        Error::ModelChanged { .. } => Some(NEW_INDEX),
        Error::ModelGone { .. } => {
            Some("put it back where it was, or name where it is now with --model")
        }
        Error::ModelNotBrought { .. } => Some("`--channel text` asks the words alone"),
        Error::NoSuchDocument { .. } => Some("`pagesight status --all` lists the documents"),
        Error::AmbiguousPath { .. } => Some("write more of the path"),
        Error::PageMissing { .. } => Some("`pagesight repair` mends the index"),
        Error::Draw { source: PdfError::Failed(failure), .. } => of_failure(failure),
        _ => None,
    }
}

fn of_start(error: &StartError) -> Option<&'static str> {
    match error {
        StartError::NoPdfium { .. } | StartError::Library { .. } => Some(PDFIUM),
        StartError::Sandbox { .. } => {
            Some("--sandbox best-effort goes on with what there is of it")
        }
        _ => None,
    }
}

fn of_store(error: &StoreError) -> Option<&'static str> {
    Some(match error {
        StoreError::DiskFull { .. } => "free some space and run the same command again to go on",
        StoreError::Missing { .. } => "make one with `pagesight index FOLDER`",
        StoreError::Exists { .. } => "name another folder with --index DIR",
        StoreError::Pointer { .. } => "`pagesight repair` restores it from its copy",
        StoreError::DamagedFile { .. } | StoreError::Torn { .. } => {
            "`pagesight verify` names all damage, `pagesight repair` mends it"
        }
        StoreError::DamagedPage { .. } => "`pagesight repair` has the page read again",
        StoreError::NewerFormat { .. } => "use a newer pagesight",
        StoreError::Locked { .. } => "wait for it to end",
        StoreError::OtherModel { .. } | StoreError::OtherDim { .. } => NEW_INDEX,
        StoreError::Compact { .. } => "copy its folder instead: it is whole",
        StoreError::NotBuilt { .. } => {
            "build it in, e.g. `cargo install --path . --features s3`, or name a folder"
        }
        StoreError::Address { .. } => "write s3://BUCKET/PREFIX",
        StoreError::Conditions { .. } => {
            "use a store that has conditional puts, as S3, Google, Azure, MinIO and R2 have them \
             today, or keep the index in a folder"
        }
        StoreError::Bucket { .. } => {
            "credentials, region and address come from the environment, a profile or the machine, as \
             for the cloud's own programs (for S3 AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_REGION, \
             AWS_ENDPOINT_URL)"
        }
        StoreError::NoRoom { .. } => {
            "let it take more with --local-gb, or name a folder on a larger disk with --local"
        }
        StoreError::Irreplaceable { .. } => {
            "put it back, where the bucket keeps versions or copies of its objects, or plan the PDFs \
             into a new prefix; what is sound can be taken out with `pagesight export`"
        }
        StoreError::NotInBucket { .. } => {
            "`pagesight export` and `pagesight import` move an index between a folder and a bucket"
        }
        _ => return None,
    })
}

/// What helps against a document or page that could not be read.
pub fn of_failure(failure: &Failure) -> Option<&'static str> {
    Some(match failure.kind {
        FailureKind::Encrypted => "give its password with --password",
        FailureKind::TooLarge => "--max-file-size allows more",
        FailureKind::Timeout => "--page-timeout allows more",
        FailureKind::Crashed => "--worker-memory allows more",
        _ => return None,
    })
}
