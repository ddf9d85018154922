"""The customer family: a customer, addresses, marketing consents and metafields."""

import polars as pl

from commerce_assets.contracts import rules
from commerce_assets.contracts.base import INSTANT, MONEY, TAGS, Contract, field


class Customers(Contract):
    """One row a customer."""

    customer_id: pl.Int64 = field("Customer id (numeric part of the gid).", unique=True, gt=0)
    customer_gid: pl.String = field("gid://shopify/Customer/{id}.")
    first_name: pl.String = field("First name.", nullable=True, pii=True)
    last_name: pl.String = field("Last name.", nullable=True, pii=True)
    email: pl.String = field("E-mail address.", nullable=True, pii=True)
    phone: pl.String = field("Phone number (E.164).", nullable=True, pii=True)
    state: pl.String = field("CustomerState: DISABLED, ENABLED, INVITED, DECLINED.")
    locale: pl.String = field("Language and region.")
    note: pl.String = field("Merchant's note.", nullable=True, pii=True)
    tags: TAGS = field("Merchant's and apps' tags.")
    is_tax_exempt: pl.Boolean = field("Pays no tax.")
    is_email_verified: pl.Boolean = field("E-mail was verified.")
    default_address_id: pl.Int64 = field("Default address.", nullable=True)
    storefront_order_count: pl.Int64 = field("Orders as the storefront counts them; compare with our own.", unit="orders")
    storefront_spent_amount: MONEY = field("Spend as the storefront counts it; compare with our own.")
    currency_code: pl.String = field("Currency of the spend (ISO 4217).")
    created_at: INSTANT = field("When the customer was created.")
    updated_at: INSTANT = field("When anything about the customer last changed.")

    gid_is_one = rules.customer_id_format("customer_gid")
    email_is_one = rules.email_format("email")
    currency = rules.currency_known("currency_code")
    texts = rules.no_card_number("first_name", "last_name", "note", "tags")


class CustomerAddresses(Contract):
    """One row an address of a customer."""

    address_id: pl.Int64 = field("Address id.", unique=True, gt=0)
    customer_id: pl.Int64 = field("Customer it belongs to.")
    is_default: pl.Boolean = field("The customer's default address.")
    first_name: pl.String = field("First name.", nullable=True, pii=True)
    last_name: pl.String = field("Last name.", nullable=True, pii=True)
    company: pl.String = field("Company.", nullable=True, pii=True)
    address1: pl.String = field("Street.", nullable=True, pii=True)
    address2: pl.String = field("Second line.", nullable=True, pii=True)
    city: pl.String = field("City.", nullable=True, pii=True)
    province_code: pl.String = field("Province or state.", nullable=True)
    postal_code: pl.String = field("Postal code.", nullable=True, pii=True)
    country_code: pl.String = field("Country (ISO 3166-1 alpha-2).", nullable=True)
    phone: pl.String = field("Phone.", nullable=True, pii=True)

    country = rules.country_known("country_code")
    postal_code_fits = rules.postal_code_fits_country(postal_code="country_code")
    texts = rules.no_card_number("first_name", "last_name", "company", "address1", "address2", "city")


class CustomerConsents(Contract):
    """One row a marketing channel of a customer, with the consent that holds for it."""

    customer_id: pl.Int64 = field("Customer it belongs to.")
    channel: pl.String = field("email or sms.", isin=["email", "sms"])
    consent_state: pl.String = field("SUBSCRIBED, UNSUBSCRIBED, NOT_SUBSCRIBED, PENDING, INVALID, REDACTED.")
    opt_in_level: pl.String = field("SINGLE_OPT_IN, CONFIRMED_OPT_IN, UNKNOWN.", nullable=True)
    consent_updated_at: INSTANT = field("When consent was given or taken back.", nullable=True)


class CustomerMetafields(Contract):
    """One row a metafield of a customer, as the storefront holds it: what activation wrote comes back here as a fact."""

    metafield_id: pl.Int64 = field("Metafield id.", unique=True, gt=0)
    customer_id: pl.Int64 = field("Customer it belongs to.")
    namespace: pl.String = field("Namespace.")
    key: pl.String = field("Key.")
    type: pl.String = field("Metafield type.")
    value: pl.String = field("Value as text.")
    updated_at: INSTANT = field("When it last changed.")

    texts = rules.no_card_number("value")
