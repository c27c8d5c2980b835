//! What can still be read of a damaged table.
//!
//! Lance panics on some damaged bytes. Reading therefore runs on tasks of their own, whose panic
//! comes back as one line like any other error. This needs unwinding: a build with
//! `panic = "abort"` would end the program instead, and `repair` and `verify` with it.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use lancedb::table::DatasetRecordBatchStream;

use crate::error::StoreError;
use crate::lance::table::{LanceTable, READ_ROWS};

impl LanceTable {
    /// Every row, read fragment by fragment, so that a row that cannot be read costs itself alone.
    /// Files in `skip`, by their path below the index, are not opened.
    pub async fn salvage(&self, skip: &HashSet<String>) -> Result<Salvage, StoreError> {
        let dataset = self.table.dataset().expect("a table on a local disk");
        let dataset = dataset.get().await.map_err(StoreError::table("reading", &self.path))?;
        let folder = self.path.file_name().expect("a table has a name").to_string_lossy();
        let mut fragments = dataset.fragments().as_ref().clone();
        fragments.retain(|fragment| {
            let mut files = fragment.files.iter();
            !files.any(|file| skip.contains(&format!("{folder}/data/{}", file.path)))
        });
        let (send, receive) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            for fragment in fragments {
                let name = fragment.files.first().map(|file| file.path.clone());
                let rows = fragment.num_rows().unwrap_or(0);
                let scan = |row: Option<usize>| {
                    let (dataset, fragment) = (Arc::clone(&dataset), fragment.clone());
                    async move {
                        let mut scanner = dataset.scan();
                        scanner.with_fragments(vec![fragment]).batch_size(READ_ROWS as usize);
                        if let Some(row) = row {
                            scanner.limit(Some(1), Some(row as i64)).map_err(|e| e.to_string())?;
                        }
                        scanner.try_into_stream().await.map_err(|e| e.to_string())
                    }
                };
                let mut read = 0;
                let mut said = rows_of(scan(None), &send, &mut read).await;
                if said.is_some() {
                    // Then row by row: one that cannot be read costs itself.
                    for row in read..rows {
                        let one = rows_of(scan(Some(row)), &send, &mut 0).await;
                        said = one.or(said);
                    }
                }
                if let Some(said) = said {
                    let file = format!("data/{}", name.unwrap_or_default());
                    if send.send(Err((file, said))).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(receive)
    }
}

/// Reads what `opening` gives and counts the rows; says what went wrong.
async fn rows_of(
    opening: impl Future<Output = Result<DatasetRecordBatchStream, String>> + Send + 'static,
    send: &tokio::sync::mpsc::Sender<Result<RecordBatch, (String, String)>>,
    read: &mut usize,
) -> Option<String> {
    let (pass, mut batches) = tokio::sync::mpsc::channel(1);
    // On a task of its own, which may panic.
    let reading = tokio::spawn(async move {
        let mut stream = opening.await?;
        while let Some(batch) = stream.try_next().await.map_err(|e| e.to_string())? {
            if pass.send(batch).await.is_err() {
                break;
            }
        }
        Ok::<(), String>(())
    });
    while let Some(batch) = batches.recv().await {
        *read += batch.num_rows();
        if send.send(Ok(batch)).await.is_err() {
            return None;
        }
    }
    match reading.await {
        Ok(Ok(())) => None,
        Ok(Err(said)) => Some(said.lines().next().unwrap_or_default().to_string()),
        Err(_) => Some("its content makes no sense".into()),
    }
}

/// Batches of a table that may be damaged, and for a file that cannot be read, its path below
/// the table and why.
pub(crate) type Salvage = tokio::sync::mpsc::Receiver<Result<RecordBatch, (String, String)>>;
