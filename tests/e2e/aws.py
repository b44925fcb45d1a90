"""What boto3 sees. Each scenario takes JSON, drives the unmodified SDK, and prints JSON."""

import json
import re
import sys
import threading
import urllib.error
import urllib.request

import boto3
import botocore
from botocore.config import Config
from botocore.exceptions import ClientError


def client(service, url, credentials=None, **config):
    keys = {}
    if credentials:
        keys = dict(
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials.get("SessionToken"),
        )
    config.setdefault("retries", {"max_attempts": 1})
    return boto3.client(service, endpoint_url=url, region_name="eu-west-1", config=Config(**config), **keys)


def unsigned(service, url):
    return client(service, url, signature_version=botocore.UNSIGNED)


def plain(credentials):
    return {**credentials, "Expiration": credentials["Expiration"].isoformat()}


def refusal(call):
    """The error a call ends with, as code and HTTP status."""
    try:
        call()
    except ClientError as error:
        return {
            "code": error.response["Error"]["Code"],
            "status": error.response["ResponseMetadata"]["HTTPStatusCode"],
            "message": error.response["Error"]["Message"],
        }
    return {"code": "none"}


def call(given):
    """One call of any operation: its answer, or how it was refused."""
    credentials = given.get("credentials")
    made = client(given["service"], given["url"], credentials) if credentials else unsigned(given["service"], given["url"])
    try:
        answer = getattr(made, botocore.xform_name(given["operation"]))(**given["parameters"])
    except ClientError as error:
        data = error.response
        return {
            "refused": {
                "code": data["Error"]["Code"],
                "status": data["ResponseMetadata"]["HTTPStatusCode"],
                "message": data["Error"]["Message"],
            }
        }
    answer.pop("ResponseMetadata")
    return {"answer": json.loads(json.dumps(answer, default=lambda value: value.isoformat() if hasattr(value, "isoformat") else value.decode()))}


def provided(given):
    """Who one is by the default chain alone: container endpoint, metadata service, or whatever the environment says."""
    return {"arn": boto3.client("sts", endpoint_url=given["url"], region_name="eu-west-1").get_caller_identity()["Arn"]}


def whoami(_given):
    """Who one is by the profile in AWS_PROFILE alone, endpoints and all."""
    return {"Arn": boto3.client("sts").get_caller_identity()["Arn"]}


def assume_with_saml(given):
    sts = unsigned("sts", given["url"])
    ask = {k: given[k] for k in ("RoleArn", "PrincipalArn", "SAMLAssertion", "DurationSeconds") if k in given}
    try:
        answer = sts.assume_role_with_saml(**ask)
    except ClientError:
        return {"refused": refusal(lambda: (_ for _ in ()).throw(sys.exc_info()[1]))}
    answer["Credentials"] = plain(answer["Credentials"])
    answer.pop("ResponseMetadata")
    return answer


def assume_with_web_identity(given):
    sts = unsigned("sts", given["url"])
    ask = {k: given[k] for k in ("RoleArn", "RoleSessionName", "WebIdentityToken", "DurationSeconds") if k in given}
    try:
        answer = sts.assume_role_with_web_identity(**ask)
    except ClientError:
        return {"refused": refusal(lambda: (_ for _ in ()).throw(sys.exc_info()[1]))}
    answer["Credentials"] = plain(answer["Credentials"])
    answer.pop("ResponseMetadata")
    return answer


def identity(given):
    answer = client("sts", given["url"], given["credentials"]).get_caller_identity()
    return {k: answer[k] for k in ("Arn", "Account", "UserId")}


def chain(given):
    """A role from a role's session, and the limits of that."""
    url, credentials = given["url"], given["credentials"]
    sts = client("sts", url, credentials)
    answer = sts.assume_role(RoleArn=given["RoleArn"], RoleSessionName="chained", DurationSeconds=900)
    inner = client("sts", url, answer["Credentials"])
    return {
        "arn": inner.get_caller_identity()["Arn"],
        "too long": refusal(lambda: sts.assume_role(RoleArn=given["RoleArn"], RoleSessionName="c2", DurationSeconds=7200)),
        "not trusted": refusal(lambda: inner.assume_role(RoleArn=given["RoleArn"], RoleSessionName="c3")),
        "no such role": refusal(
            lambda: sts.assume_role(RoleArn=given["RoleArn"].replace("Chained", "Nobody"), RoleSessionName="c4")
        ),
    }


def refusals(given):
    """Right codes for wrong credentials."""
    url, good = given["url"], given["credentials"]
    wrong_secret = {**good, "SecretAccessKey": "x" * 40}
    unknown_key = {**good, "AccessKeyId": "ASIAAAAAAAAAAAAAAAAA"}
    token = good["SessionToken"]
    middle = len(token) // 2
    tampered = {**good, "SessionToken": token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]}
    no_token = {k: good[k] for k in ("AccessKeyId", "SecretAccessKey")}

    def tampered_body():
        sts = client("sts", url, good)

        def change(request, **_):
            request.body = request.body.replace("honest", "evilly")

        sts.meta.events.register("before-send.sts.AssumeRole", change)
        sts.assume_role(RoleArn="arn:aws:iam::222233334444:role/Chained", RoleSessionName="honest")

    ask = lambda credentials: lambda: client("sts", url, credentials).get_caller_identity()
    return {
        "good": refusal(ask(good)),
        "wrong secret": refusal(ask(wrong_secret)),
        "unknown key": refusal(ask(unknown_key)),
        "tampered token": refusal(ask(tampered)),
        "no token": refusal(ask(no_token)),
        "tampered body": refusal(tampered_body),
        "nobody": refusal(lambda: unsigned("sts", url).get_caller_identity()),
        "other service": refusal(lambda: client("iam", url, good).list_roles()),
    }


def identity_refusal(given):
    return refusal(lambda: client("sts", given["url"], given["credentials"]).get_caller_identity())


def presigned(given):
    """A presigned GetCallerIdentity as proof of identity, as EKS and Vault use it."""
    sts = client("sts", given["url"], given["credentials"])

    def answer(method, change=lambda url: url):
        url = change(sts.generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod=method))
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method=method)) as response:
                return re.search("<Arn>(.*?)</Arn>", response.read().decode())[1]
        except urllib.error.HTTPError as error:
            return re.search("<Code>(.*?)</Code>", error.read().decode())[1]

    return {
        "GET": answer("GET"),
        "POST": answer("POST"),
        "longer": answer("GET", lambda url: url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000")),
        "other action": answer("GET", lambda url: url.replace("GetCallerIdentity", "AssumeRole")),
        "other method": answer("GET", lambda url: sts.generate_presigned_url("get_caller_identity", HttpMethod="POST")),
    }


def decode(given):
    """What an administrator sees in a refusal."""
    sts = client("sts", given["url"], given["credentials"])
    return json.loads(sts.decode_authorization_message(EncodedMessage=given["EncodedMessage"])["DecodedMessage"])


def policy_tour(given):
    """Validation and simulation through the SDK."""
    url, credentials, account = given["url"], given["credentials"], given["account"]
    iam, analyzer = client("iam", url, credentials), client("accessanalyzer", url, credentials)
    statement = {"Effect": "Allow", "Action": ["s3:GetObjet", "iam:PassRole"], "Resource": "*"}
    bad = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    found = analyzer.validate_policy(policyDocument=bad, policyType="IDENTITY_POLICY")["findings"]
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    pages = analyzer.get_paginator("validate_policy").paginate(
        policyDocument=json.dumps({"Statement": trust}),
        policyType="RESOURCE_POLICY",
        validatePolicyResourceType="AWS::IAM::AssumeRolePolicyDocument",
        PaginationConfig={"PageSize": 1},
    )
    read = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": {
                "Effect": "Allow",
                "Action": "s3:GetObject",
                "Resource": "arn:aws:s3:::b/${aws:username}/*",
                "Condition": {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}},
            },
        }
    )
    entries = [
        {"ContextKeyName": "aws:username", "ContextKeyValues": ["jane"], "ContextKeyType": "string"},
        {"ContextKeyName": "aws:SourceIp", "ContextKeyValues": ["203.0.113.9"], "ContextKeyType": "ip"},
    ]
    ask = dict(
        PolicyInputList=[read],
        ActionNames=["s3:GetObject", "s3:PutObject"],
        ResourceArns=["arn:aws:s3:::b/jane/x", "arn:aws:s3:::b/joe/x"],
    )
    custom = iam.simulate_custom_policy(**ask, ContextEntries=entries)["EvaluationResults"]
    without = iam.simulate_custom_policy(**{**ask, "ResourceArns": ["*"]})["EvaluationResults"][0]
    role = iam.simulate_principal_policy(
        PolicySourceArn=f"arn:aws:iam::{account}:role/DirectoryAdmin", ActionNames=["iam:CreateRole"]
    )["EvaluationResults"]
    print_role = [(r["EvalDecision"], [m["SourcePolicyId"] for m in r["MatchedStatements"]]) for r in role]
    return {
        "found": [(f["findingType"], f["issueCode"], f["locations"][0]["span"]["start"]["column"]) for f in found],
        "path": found[0]["locations"][0]["path"],
        "pages": [[f["issueCode"] for f in page["findings"]] for page in pages],
        "refused": refusal(lambda: analyzer.validate_policy(policyDocument="{}", policyType="NO_POLICY")),
        "custom": [r["EvalDecision"] for r in custom],
        "statement": custom[0]["MatchedStatements"],
        "missing": without["MissingContextValues"],
        "role": print_role,
        "malformed": refusal(lambda: iam.simulate_custom_policy(PolicyInputList=["{"], ActionNames=["s3:GetObject"])),
    }


def iam_tour(given):
    """Roles and policies through the SDK, from creation to deletion."""
    url, credentials = given["url"], given["credentials"]
    iam = client("iam", url, credentials)
    trust = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": {"AWS": given["account"]}, "Action": "sts:AssumeRole"}],
        }
    )
    allow = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})
    made = iam.create_role(RoleName="Tour", AssumeRolePolicyDocument=trust, Description="a & b < c")["Role"]
    policy = iam.create_policy(PolicyName="TourPolicy", PolicyDocument=allow)["Policy"]
    iam.put_role_policy(RoleName="Tour", PolicyName="inline", PolicyDocument=allow)
    iam.attach_role_policy(RoleName="Tour", PolicyArn=policy["Arn"])
    seen = {
        "document": iam.get_role(RoleName="Tour")["Role"]["AssumeRolePolicyDocument"] == json.loads(trust),
        "description": iam.get_role(RoleName="Tour")["Role"]["Description"],
        "inline": iam.list_role_policies(RoleName="Tour")["PolicyNames"],
        "inline document": iam.get_role_policy(RoleName="Tour", PolicyName="inline")["PolicyDocument"] == json.loads(allow),
        "attached": [p["PolicyName"] for p in iam.list_attached_role_policies(RoleName="Tour")["AttachedPolicies"]],
        "listed": "Tour" in [r["RoleName"] for p in iam.get_paginator("list_roles").paginate(PaginationConfig={"PageSize": 2}) for r in p["Roles"]],
        "delete too early": refusal(lambda: iam.delete_role(RoleName="Tour")),
        "twice": refusal(lambda: iam.create_role(RoleName="tour", AssumeRolePolicyDocument=trust)),
        "malformed": refusal(lambda: iam.update_assume_role_policy(RoleName="Tour", PolicyDocument='{"Statement": []}')),
        "missing": refusal(lambda: iam.get_role(RoleName="Nobody")),
        "attached policy": refusal(lambda: iam.delete_policy(PolicyArn=policy["Arn"])),
    }
    iam.delete_role_policy(RoleName="Tour", PolicyName="inline")
    iam.detach_role_policy(RoleName="Tour", PolicyArn=policy["Arn"])
    iam.delete_policy(PolicyArn=policy["Arn"])
    iam.delete_role(RoleName="Tour")
    seen["gone"] = refusal(lambda: iam.get_role(RoleName="Tour"))["code"]
    seen["id"] = made["RoleId"][:4]
    accounts = client("organizations", url, credentials).list_accounts()["Accounts"]
    seen["accounts"] = [account["Name"] for account in accounts]
    events = client("cloudtrail", url, credentials).lookup_events(
        LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": "DeleteRole"}]
    )["Events"]
    seen["last event"] = [events[0]["EventName"], isinstance(events[0]["EventTime"].timestamp(), float)]
    return seen


def write_until_killed(given):
    """Creates roles from two threads until the server goes away; prints the names it was told exist."""
    acknowledged, lock = [], threading.Lock()
    trust = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": {"AWS": given["account"]}, "Action": "sts:AssumeRole"}],
        }
    )

    def write(worker):
        iam = client("iam", given["url"], given["credentials"], connect_timeout=2, read_timeout=5)
        for number in range(10_000):
            name = f"{given['prefix']}-{worker}-{number}"
            try:
                iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
            except Exception:
                return
            with lock:
                acknowledged.append(name)
                with open(given["progress"], "a") as file:
                    file.write(name + "\n")

    workers = [threading.Thread(target=write, args=(n,)) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    return {"acknowledged": acknowledged}


def list_roles(given):
    iam = client("iam", given["url"], given["credentials"])
    pages = iam.get_paginator("list_roles").paginate()
    return {"roles": [role["RoleName"] for page in pages for role in page["Roles"]]}


if __name__ == "__main__":
    scenario, given = sys.argv[1], json.loads(sys.argv[2])
    print(json.dumps(globals()[scenario](given)))
