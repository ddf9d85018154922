select
    _line,
    1 as _ordinal,
    gid(id, 'MailingAddress') as address_id,
    gid(__parentId, 'Customer') as customer_id,
    -- Set when the customer is at hand: a child may stand apart from its parent.
    false as is_default,
    firstName as first_name,
    lastName as last_name,
    company,
    address1,
    address2,
    city,
    provinceCode as province_code,
    zip as postal_code,
    country(countryCodeV2) as country_code,
    phone,
    false as _suspect
from mailing_address
