"""KPIs, reconciliation, incidents, alerts: what measures every hop."""
