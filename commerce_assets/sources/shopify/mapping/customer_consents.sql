with
    consents as (
        select
            _line,
            1 as _ordinal,
            id,
            'email' as channel,
            defaultEmailAddress.marketingState as state,
            defaultEmailAddress.marketingOptInLevel as opt_in_level,
            defaultEmailAddress.marketingUpdatedAt as updated_at
        from customer
        where defaultEmailAddress.emailAddress is not null
        union all
        select
            _line,
            2 as _ordinal,
            id,
            'sms' as channel,
            defaultPhoneNumber.smsMarketingConsent.state as state,
            defaultPhoneNumber.smsMarketingConsent.optInLevel as opt_in_level,
            defaultPhoneNumber.smsMarketingConsent.updatedAt as updated_at
        from customer
        where defaultPhoneNumber.smsMarketingConsent.state is not null
    )
select
    _line,
    _ordinal,
    gid(id, 'Customer') as customer_id,
    channel,
    state as consent_state,
    opt_in_level,
    instant(updated_at) as consent_updated_at,
    lost(updated_at, consent_updated_at) as _suspect
from consents
