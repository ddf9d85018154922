select max(version) as version from main.published
