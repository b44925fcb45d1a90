//! Who the Rust SDK is by the profile in `AWS_PROFILE` alone.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    let answer = aws_sdk_sts::Client::new(&config).get_caller_identity().send().await;
    match answer {
        Ok(identity) => println!("{}", serde_json::json!({ "Arn": identity.arn() })),
        Err(error) => {
            eprintln!("{}", aws_sdk_sts::error::DisplayErrorContext(error));
            std::process::exit(1);
        }
    }
    Ok(())
}
